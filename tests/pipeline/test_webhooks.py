import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pipeline.reconcile.webhook import REMEMBERED, SECRET_VARIABLE, WINDOW_S, Deliveries, Verdict, webhook_secret
from pipeline.reconcile.webhook_server import LARGEST_BODY, WebhookApp, webhook_server
from slipway.errors import InputError
from tests.pipeline.webhook_deliveries import SECRET, post, request, signed, tally


class Clock:
    def __init__(self, now=1_800_000_000.0):
        self.now = now

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def deliveries(clock):
    return Deliveries(SECRET, clock)


def judged(deliveries, delivery):
    return deliveries.judge(delivery.headers, delivery.body.encode())


def test_what_mlflow_signed_is_accepted(deliveries, clock):
    assert judged(deliveries, signed(now=clock.now)) is Verdict.ACCEPTED
    assert deliveries.tally().accepted == 1


def test_a_delivery_is_accepted_once_and_refused_as_replayed_from_then_on(deliveries, clock):
    delivery = signed(now=clock.now)
    judged(deliveries, delivery)
    assert [judged(deliveries, delivery) for _ in range(3)] == [Verdict.REPLAYED] * 3
    clock.now += WINDOW_S + 1
    assert judged(deliveries, delivery) is Verdict.OUT_OF_DATE
    assert deliveries.tally().text() == "1 accepted, 4 refused (1 out of date, 3 replayed)"


@pytest.mark.parametrize("off_s", [-WINDOW_S - 1, WINDOW_S + 1, -1e6, 1e6])
def test_a_delivery_of_another_time_is_refused_although_it_is_signed(deliveries, clock, off_s):
    assert judged(deliveries, signed(now=clock.now + off_s)) is Verdict.OUT_OF_DATE


def test_the_same_delivery_under_another_id_or_time_is_forged(deliveries, clock):
    delivery = signed(now=clock.now)
    for altered in (
        delivery.altered(delivery_id="another"),
        delivery.altered(time=str(int(clock.now) + 1)),
        delivery.altered(body=delivery.body.replace("2", "3")),
        delivery.altered(signature=""),
        delivery.altered(signature=delivery.signature.removeprefix("v1,")),
        signed(now=clock.now, secret="another secret of the same length"),
    ):
        assert judged(deliveries, altered) is Verdict.FORGED
    assert deliveries.tally().refused == {"forged": 6}


@given(
    signature=st.text(st.characters(max_codepoint=255)),
    delivery_id=st.text(st.characters(max_codepoint=255), max_size=300),
    sent=st.text(st.characters(max_codepoint=255), max_size=30) | st.integers().map(str),
    body=st.binary(),
)
def test_no_delivery_without_the_secret_is_accepted_whatever_it_holds(signature, delivery_id, sent, body):
    headers = {"x-mlflow-signature": signature, "x-mlflow-delivery-id": delivery_id, "x-mlflow-timestamp": sent}
    deliveries = Deliveries(SECRET)
    assert deliveries.judge(headers, body) in {Verdict.FORGED, Verdict.MALFORMED}
    assert deliveries.tally().accepted == 0


@given(body=st.text(), other=st.text())
def test_a_signature_is_good_for_its_own_body_alone(body, other):
    assume(body != other)
    clock = Clock()
    delivery = signed(now=clock.now, body=body)
    deliveries = Deliveries(SECRET, clock)
    assert judged(deliveries, delivery.altered(body=other)) is Verdict.FORGED
    assert judged(deliveries, delivery) is Verdict.ACCEPTED


def test_a_bounded_number_of_ids_is_remembered_and_none_is_forgotten_while_it_could_be_replayed(deliveries, clock):
    first = signed(now=clock.now)
    judged(deliveries, first)
    for number in range(REMEMBERED - 1):
        judged(deliveries, signed(now=clock.now, delivery_id=f"{number}", body=""))
    assert judged(deliveries, signed(now=clock.now)) is Verdict.CROWDED
    assert judged(deliveries, first) is Verdict.REPLAYED
    clock.now += WINDOW_S + 1
    assert judged(deliveries, signed(now=clock.now)) is Verdict.ACCEPTED
    assert judged(deliveries, first) is Verdict.OUT_OF_DATE


def test_the_secret_is_the_environments_or_random_and_never_a_short_one(monkeypatch):
    monkeypatch.setenv(SECRET_VARIABLE, SECRET)
    assert webhook_secret() == SECRET
    monkeypatch.setenv(SECRET_VARIABLE, "hunter2")
    with pytest.raises(InputError, match="7 characters; expected 16 or more") as error:
        webhook_secret()
    assert "hunter2" not in str(error.value)
    monkeypatch.delenv(SECRET_VARIABLE)
    assert len(webhook_secret()) > 32
    assert webhook_secret() != webhook_secret()


@pytest.fixture
def wake():
    return threading.Event()


@pytest.fixture
def address(wake):
    with webhook_server(WebhookApp(Deliveries(SECRET), wake), "127.0.0.1", 0) as address:
        yield address


def test_a_delivery_wakes_and_is_counted_where_anybody_can_read_it(address, wake):
    assert tally(address) == {"accepted": 0, "refused": {}}
    assert not wake.is_set()
    assert post(address, signed()) == 204
    assert wake.is_set()
    assert tally(address) == {"accepted": 1, "refused": {}}


def test_what_is_refused_wakes_nobody_and_says_why(address, wake):
    delivery = signed()
    post(address, delivery)
    wake.clear()
    assert post(address, delivery) == 409
    assert post(address, delivery.altered(delivery_id="another")) == 401
    assert post(address, signed(now=time.time() - 3600)) == 403
    assert post(address, delivery.altered(time="soon")) == 400
    assert post(address, delivery, method="PUT") == 405
    assert post(address, signed(body="x" * (LARGEST_BODY + 1))) == 413
    assert not wake.is_set()
    reasons = {"replayed", "forged", "out of date", "malformed", "not a POST", "too large"}
    assert tally(address) == {"accepted": 1, "refused": dict.fromkeys(reasons, 1)}


def test_a_body_that_does_not_say_how_long_it_is_is_measured_as_it_comes(address, wake):
    delivery = signed(body="x" * (LARGEST_BODY + 1))
    chunks = iter([delivery.body.encode()[:40_000], delivery.body.encode()[40_000:]])
    assert request(address, "POST", chunks, delivery.headers)[0] == 413
    assert not wake.is_set()


def test_bytes_that_are_no_http_do_no_harm(address):
    host, port = address.removeprefix("http://").split(":")
    for nonsense in (
        b"\x16\x03\x01\x02\x00\x01",
        b"POST / HTTP/1.1\r\ncontent-length: lots\r\n\r\n",
        b"GET \xff\xff\r\n\r\n",
    ):
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(nonsense)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(4096):
                pass
    assert post(address, signed()) == 204


def test_a_thousand_forged_and_replayed_deliveries_are_each_refused_and_counted(address, wake):
    delivery = signed()
    post(address, delivery)
    wake.clear()
    forged = delivery.altered(signature="v1,AAAA")
    with ThreadPoolExecutor(8) as senders:
        statuses = list(senders.map(lambda number: post(address, forged if number % 2 else delivery), range(1000)))
    assert statuses.count(401) == statuses.count(409) == 500
    assert tally(address) == {"accepted": 1, "refused": {"forged": 500, "replayed": 500}}
    assert not wake.is_set()


def test_a_port_in_use_is_an_error_with_a_way_out():
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(InputError, match=f"--webhook-port {taken.getsockname()[1]}: .* is in use; .*another"),
        webhook_server(WebhookApp(Deliveries(SECRET), threading.Event()), "127.0.0.1", taken.getsockname()[1]),
    ):
        pytest.fail("a server was started on a port in use")


def test_the_port_is_free_again_at_the_end(wake):
    with webhook_server(WebhookApp(Deliveries(SECRET), wake), "127.0.0.1", 0) as address:
        request(address)
    port = int(address.rpartition(":")[2])
    socket.create_server(("127.0.0.1", port)).close()
