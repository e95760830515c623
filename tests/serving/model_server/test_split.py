"""Unlabelled traffic is split between stable version and canary, over real sockets."""

import json
import logging
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from serving.traffic import Traffic, position_of
from tests.serving.model_server.fakes import eventually
from tests.serving.model_server.split_world import two_versions


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with two_versions(tmp_path_factory.mktemp("split")) as world:
        yield world


def version_of(answer):
    status, headers, document = answer
    assert status == 200, document
    return int(headers["x-slipway-version"])


def versions(world, count, clients=4):
    """How many requests of several clients at once each version answered."""

    def ask(number):
        with world.client() as client:
            return Counter(version_of(client.ask(1.0)) for _ in range(number))

    with ThreadPoolExecutor(clients) as threads:
        return sum(threads.map(ask, [count // clients] * clients), Counter())


def test_without_a_split_all_is_answered_by_the_stable_version(world):
    world.file.unlink(missing_ok=True)
    world.traffic.look()
    assert versions(world, 40) == {1: 40}


@pytest.mark.parametrize("share", [5, 30])
def test_the_canary_gets_its_share_of_several_clients_requests(world, share):
    world.split(canary=share)
    count = 1200
    found = versions(world, count)
    assert found[1] + found[2] == count
    spread = (count * share / 100 * (1 - share / 100)) ** 0.5
    assert abs(found[2] - count * share / 100) < 4.5 * spread


def test_all_or_nothing_is_exact(world):
    world.split(canary=100)
    assert versions(world, 80) == {2: 80}
    world.split(canary=0)
    assert versions(world, 80) == {1: 80}


def test_who_names_a_version_or_a_label_gets_it(world):
    world.split(canary=100)
    for where, expected in (("/versions/1", 1), ("/labels/stable", 1), ("/versions/2", 2), ("/labels/canary", 2)):
        assert version_of(world.ask(1.0, where=where)) == expected
    assert world.call(1.0, label="stable")[1]["x-slipway-version"] == "1"


def test_a_client_stays_by_its_header_over_rest_and_grpc_as_the_share_grows(world):
    on_canary = set()
    for share in (5, 25, 50, 100):
        world.split(canary=share, key_header="X-Client-Id")
        with world.client() as client:
            for key in map(str, range(40)):
                expected = 2 if Traffic(100 - share, share).goes_to_canary(position_of("m", key)) else 1
                assert {version_of(client.ask(1.0, x_client_id=key)) for _ in range(2)} == {expected}
                assert world.call(1.0, metadata=[("x-client-id", key)])[1]["x-slipway-version"] == str(expected)
                assert key not in on_canary or expected == 2
                on_canary |= {key} if expected == 2 else set()
    assert len(on_canary) == 40


def test_without_the_header_it_is_chance_again(world):
    world.split(canary=50, key_header="x-client-id")
    with world.client() as client:
        assert {version_of(client.ask(1.0)) for _ in range(60)} == {1, 2}
    assert {world.call(1.0)[1]["x-slipway-version"] for _ in range(60)} == {"1", "2"}


def test_the_address_is_a_key_where_it_is_asked_for(world):
    expected = 2 if position_of("m", "127.0.0.1") < 50 else 1
    world.split(canary=50, key_address=True)
    assert {version_of(world.ask(1.0)) for _ in range(30)} == {expected}
    assert {world.call(1.0)[1]["x-slipway-version"] for _ in range(30)} == {str(expected)}
    world.split(canary=50, key_address=True, key_header="x-client-id")
    other = next(key for key in map(str, range(99)) if (position_of("m", key) < 50) != (expected == 2))
    assert version_of(world.ask(1.0, x_client_id=other)) == 3 - expected


def test_while_no_version_bears_the_label_all_goes_to_stable(world):
    world.split(canary=100)
    world.label(stable=1)
    assert versions(world, 40) == {1: 40}
    world.label(stable=1, canary=2)
    eventually(lambda: version_of(world.ask(1.0)) == 2)


def test_the_canary_is_swapped_under_load_and_no_request_fails(tmp_path):
    with two_versions(tmp_path) as world:
        digests = world.digests | {3: world.put(3, shift=2)}
        world.split(canary=50)
        stop, answered = threading.Event(), Counter()

        def ask():
            with world.client() as client:
                while not stop.is_set():
                    version = version_of(client.ask(1.0))
                    answered[version] += 1
                    assert client.headers["x-slipway-digest"] == digests[version]

        with ThreadPoolExecutor(4) as threads:
            clients = [threads.submit(ask) for _ in range(4)]
            for canary in (3, 2, 3, 2, 3):
                before = answered.copy()
                world.label(stable=1, canary=canary)
                eventually(lambda canary=canary, before=before: answered[canary] > before[canary] + 20)
            stop.set()
            for client in clients:
                client.result()
        assert set(answered) == {1, 2, 3}


def test_a_file_that_is_wrong_is_said_once_and_what_was_in_effect_stays(world, caplog):
    caplog.set_level(logging.INFO, "serving")
    world.split(canary=100)
    with world.polled():
        world.file.write_text(json.dumps({"models": {"m": {"traffic": {"stable": 50, "canary": 5}}}}))
        eventually(lambda: "sum of 100" in caplog.text)
        assert versions(world, 40) == {2: 40}
        assert caplog.text.count("sum of 100") == 1
        world.split(canary=0)
        eventually(lambda: version_of(world.ask(1.0)) == 1)
        world.file.unlink()
        eventually(lambda: "no model's traffic is split" in caplog.text)


def test_a_file_that_is_wrong_from_the_start_splits_nothing(tmp_path):
    (tmp_path / "traffic.json").write_text("{")
    with two_versions(tmp_path) as world, world.polled():
        assert versions(world, 20) == {1: 20}
