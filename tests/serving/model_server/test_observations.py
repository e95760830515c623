"""What a server observes of each version, and what feedback adds, over real sockets."""

import re
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from serving.client.observations import Attached, TrueLabel, read_observations, send_feedback
from serving.observations import Moments
from slipway.errors import InputError, NotFoundError, UnavailableError
from tests.serving.model_server.fakes import eventually
from tests.serving.model_server.processes import free_ports
from tests.serving.model_server.split_world import FAILS, FULL, REFUSED, two_versions

UNKNOWN = "1-none-0011223344556677"


@pytest.fixture
def world(tmp_path):
    with two_versions(tmp_path) as world:
        yield world


@pytest.fixture
def slow_canary(tmp_path):
    with two_versions(tmp_path, run_s=0.02) as world:
        yield world


@pytest.fixture
def address(world):
    return f"http://127.0.0.1:{world.rest_port}"


def ids(world, *x, count=1, where=""):
    """Ask so often; the ids of the answers."""
    with world.client() as client:
        return [client.ask(*x, where=where)[1]["x-slipway-request-id"] for _ in range(count)]


def test_each_version_is_observed_by_the_requests_that_it_was_assigned(slow_canary):
    world, address = slow_canary, f"http://127.0.0.1:{slow_canary.rest_port}"
    ids(world, 1.0, count=30)
    world.split(canary=100)
    ids(world, 1.0, count=10)
    for _ in range(5):
        world.call(1.0)
    seen = read_observations(address, "m")
    assert seen.model == "m"
    assert [(version.version, version.label, version.requests) for version in seen.versions] == [
        (2, "canary", 15),
        (1, "stable", 30),
    ]
    assert sum(seen.of("stable").latency_ms.counts) == 30
    assert seen.of("stable").latency_ms.quantile(0.5) < 10
    assert seen.of("canary").latency_ms.quantile(0.05) >= 20
    assert seen.of("canary").confidence.count == 15
    assert seen.of("canary").confidence.sum == pytest.approx(15 * 0.7, rel=1e-5)
    assert seen.of("canary").confidence.sum_squares == pytest.approx(15 * 0.49, rel=1e-5)


def test_who_named_a_version_or_a_label_is_not_counted(world):
    for where in ("/versions/1", "/labels/stable", "/labels/canary"):
        ids(world, 1.0, where=where)
    world.call(1.0, label="stable")
    assert world.seen("stable").requests == world.seen("canary").requests == 0


def test_what_a_run_raises_is_an_error_and_what_is_refused_before_it_is_none(world):
    world.split(canary=100)
    for x, status in ((FAILS, 500), (REFUSED, 400), ("text", 400), (1.0, 200)):
        assert world.ask(x)[0] == status
    assert world.ask(body="{")[0] == 400
    seen = world.seen("canary")
    assert (seen.requests, seen.errors, sum(seen.latency_ms.counts), seen.confidence.count) == (3, 2, 1, 1)


def test_a_request_that_found_a_full_queue_counts_for_nobody_and_a_copy_as_dropped(tmp_path):
    with two_versions(tmp_path, fails=True) as world:
        world.split(canary=100)
        assert world.ask(FULL)[0] == 503
        assert (world.seen("canary").requests, world.seen("canary").errors) == (0, 0)
        world.put(3, fails=False)
        world.label(stable=3, canary=2)
        world.split(shadow=100)
        assert world.ask(FULL)[0] == 200
        eventually(lambda: world.seen("canary").shadow.dropped == 1)
        assert world.seen("canary").shadow.errors == 0


def test_an_answer_of_several_images_counts_once_and_one_without_probabilities_has_no_confidence(world):
    ids(world, 1.0, 2.0, 3.0)
    body = '{"signature_name": "both", "instances": [1.0]}'
    assert world.ask(body=body)[0] == 200
    seen = world.seen("stable")
    assert (seen.requests, seen.confidence.count) == (2, 1)
    assert seen.confidence.sum == pytest.approx(0.7)


def test_counts_begin_anew_with_each_load_and_end_with_it(world, address):
    ids(world, 1.0, count=3)
    server = read_observations(address, "m").server
    world.label(stable=2)
    eventually(lambda: len(read_observations(address, "m").versions) == 1)
    assert world.seen("stable").requests == 0
    world.label(stable=1, canary=2)
    seen = read_observations(address, "m")
    assert seen.of("stable").requests == 0
    assert seen.of("stable").confidence == Moments()
    assert seen.server == server


def test_counting_from_many_clients_loses_nothing(world):
    world.split(canary=50)
    with ThreadPoolExecutor(6) as threads:
        found = [one for some in threads.map(lambda _: ids(world, 1.0, count=50), range(6)) for one in some]
    stable, canary = world.seen("stable"), world.seen("canary")
    assert stable.requests + canary.requests == 300
    assert canary.requests == sum(one.startswith("2-") for one in found)


def test_a_model_that_is_not_there_has_none(world, address):
    with pytest.raises(NotFoundError, match="Could not find any versions of model other"):
        read_observations(address, "other")
    with pytest.raises(UnavailableError):
        read_observations(f"http://127.0.0.1:{free_ports(1)[0]}", "m")


def test_true_labels_count_by_name_and_by_id(world, address):
    one, two, three = ids(world, 2.0, count=3)
    sent = send_feedback(address, [TrueLabel(one, ("cat",)), TrueLabel(two, (2,)), TrueLabel(three, ("ant",))])
    assert sent == Attached(3, ())
    assert (world.seen("stable").labelled, world.seen("stable").correct) == (3, 2)
    world.split(canary=100)
    (four,) = ids(world, 2.0)
    assert world.feedback({"request_id": four, "label": "dog"}) == (200, {"attached": 1, "unknown": []})
    assert (world.seen("canary").labelled, world.seen("canary").correct) == (1, 1)


def test_the_same_id_counts_once_by_its_later_label(world, address):
    (one,) = ids(world, 2.0)
    for label, correct in (("cat", 1), ("cat", 1), ("ant", 0), ("cat", 1)):
        assert send_feedback(address, [TrueLabel(one, (label,))]).attached == 1
        assert (world.seen("stable").labelled, world.seen("stable").correct) == (1, correct)
    send_feedback(address, [TrueLabel(one, ("cat",)), TrueLabel(one, ("bee",))])
    assert (world.seen("stable").labelled, world.seen("stable").correct) == (1, 0)


def test_each_image_of_a_request_has_its_label(world):
    (one,) = ids(world, 0.0, 1.0, 2.0)
    assert world.feedback({"request_id": one, "labels": ["ant", "bee", "bee"]}) == (200, {"attached": 1, "unknown": []})
    assert (world.seen("stable").labelled, world.seen("stable").correct) == (3, 2)


def test_feedback_over_grpc_answers_is_by_their_metadata(world, address):
    one = world.call(3.0)[1]["x-slipway-request-id"]
    assert send_feedback(address, [TrueLabel(one, ("dog",))]).attached == 1
    assert world.seen("stable").correct == 1


def test_feedback_on_a_request_that_named_its_version_is_attached_and_not_counted(world, address):
    (one,) = ids(world, 2.0, where="/versions/1")
    assert send_feedback(address, [TrueLabel(one, ("cat",))]) == Attached(1, ())
    assert world.seen("stable").labelled == 0


def test_ids_that_are_not_remembered_are_named(world, address):
    (one,) = ids(world, 2.0)
    assert send_feedback(address, [TrueLabel(UNKNOWN, ("cat",)), TrueLabel(one, ("cat",))]) == Attached(1, (UNKNOWN,))
    failed = world.ask(FAILS)[1]["x-slipway-request-id"]
    assert send_feedback(address, [TrueLabel(failed, ("cat",))]) == Attached(0, (failed,))


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"label": "eel"}, "label 'eel' is unknown; expected one of the version's 4 classes, as 'ant', 'bee', 'cat'"),
        ({"label": 4}, "label 4 is unknown.*from 0 to 3"),
        ({"labels": ["cat", "cat"]}, "2 labels for 1 images"),
        ({"labels": []}, "0 labels for 1 images"),
        ({"label": -1}, "each a name or a class's id"),
        ({"label": True}, "each a name or a class's id"),
        ({"label": None}, "each a name or a class's id"),
        ({}, "each a name or a class's id"),
        ({"label": "cat", "labels": ["cat"]}, "each a name or a class's id"),
        ({"label": "cat", "request_id": "5"}, "expected VERSION-DIGEST-RANDOM"),
        ({"label": "cat", "request_id": 5}, 'expected {"request_id": ID'),
    ],
)
def test_wrong_feedback_is_400_says_what_is_known_and_attaches_nothing(world, document, said):
    one, two = ids(world, 2.0, count=2)
    items = [{"request_id": one, "label": "cat"}, {"request_id": two} | document]
    status, answer = world.feedback({"feedback": items})
    assert status == 400
    assert re.search(said, answer["error"])
    assert world.seen("stable").labelled == 0


@pytest.mark.parametrize("document", [[], 5, {"feedback": 5}, {"feedback": [5]}, {"feedback": [[]]}])
def test_what_is_no_feedback_at_all_is_400(world, document):
    status, answer = world.feedback(document)
    assert status == 400
    assert '"request_id": ID' in answer["error"]


def test_feedback_that_is_no_json_is_400_and_none_at_all_is_fine(world, address):
    with world.client() as client:
        assert client.request("POST", "/v1/feedback", "{")[0] == 400
    assert send_feedback(address, []) == Attached(0, ())
    with pytest.raises(InputError, match="label 'eel' is unknown"):
        send_feedback(address, [TrueLabel(ids(world, 2.0)[0], ("eel",))])


def test_a_version_without_names_takes_ids_of_classes(world):
    world.put(3, sealed=False)
    world.label(stable=3)
    (one,) = ids(world, 2.0)
    assert "Send the class's id" in world.feedback({"request_id": one, "label": "cat"})[1]["error"]
    assert world.feedback({"request_id": one, "label": 2})[0] == 200
    assert world.seen("stable").correct == 1


def test_only_the_last_answers_are_remembered(tmp_path):
    with two_versions(tmp_path, most=10) as world:
        found = ids(world, 2.0, count=12)
        items = [{"request_id": one, "label": "cat"} for one in found]
        assert world.feedback({"feedback": items}) == (200, {"attached": 10, "unknown": found[:2]})


def test_the_canary_runs_copies_after_the_answer_and_they_are_compared(slow_canary):
    world, address = slow_canary, f"http://127.0.0.1:{slow_canary.rest_port}"
    world.split(shadow=100)
    found = ids(world, 1.0, 2.0) + ids(world, FAILS) + ids(world, 3.0)
    assert all(one.startswith("1-") for one in found)
    eventually(lambda: world.seen("canary").shadow.requests == 2)
    seen = world.seen("canary")
    assert seen.requests == 0
    assert (seen.shadow.errors, seen.shadow.compared, seen.shadow.disagreed, seen.shadow.dropped) == (0, 3, 3, 0)
    assert seen.shadow.latency_ms.quantile(0.05) >= 20
    send_feedback(address, [TrueLabel(found[0], ("cat", "dog")), TrueLabel(found[2], ("dog",))])
    stable, shadow = world.seen("stable"), world.seen("canary").shadow
    assert (stable.labelled, stable.correct, shadow.labelled, shadow.correct) == (3, 1, 3, 2)
    send_feedback(address, [TrueLabel(found[0], ("bee", "cat"))])
    stable, shadow = world.seen("stable"), world.seen("canary").shadow
    assert (stable.labelled, stable.correct, shadow.labelled, shadow.correct) == (3, 3, 3, 0)


def test_a_label_that_comes_before_the_copy_was_run_counts_for_it_too(tmp_path):
    gate = threading.Event()
    with two_versions(tmp_path, cores_busy=lambda: 0 if gate.is_set() else 99) as world:
        world.split(shadow=100)
        (one,) = ids(world, 1.0)
        world.feedback({"request_id": one, "label": "cat"})
        gate.set()
        eventually(lambda: world.seen("canary").shadow.labelled == 1)
        assert world.seen("canary").shadow.correct == 1


def test_a_canary_that_fails_a_copy_or_lacks_its_signature_is_in_error(tmp_path):
    with two_versions(tmp_path, fails=True) as world:
        world.put(3, fails=False)
        world.label(stable=3, canary=2)
        world.split(shadow=100)
        assert world.ask(FAILS)[0] == 200
        eventually(lambda: world.seen("canary").shadow.requests == 1)
        assert world.seen("canary").shadow.errors == 1


def test_only_its_share_is_copied_and_never_what_the_canary_answered_itself(world):
    world.split(canary=50, shadow=100)
    found = ids(world, 1.0, count=20)
    stable = sum(one.startswith("1-") for one in found)
    eventually(lambda: world.seen("canary").shadow.requests + world.seen("canary").shadow.dropped == stable)
    world.split(canary=100, shadow=100)
    ids(world, 1.0, count=10)
    ids(world, 1.0, where="/labels/stable")
    shadow = world.seen("canary").shadow
    assert shadow.requests + shadow.dropped == stable


def test_while_the_server_is_busy_copies_wait_in_a_short_queue_and_then_are_dropped(tmp_path):
    with two_versions(tmp_path, cores_busy=lambda: 99) as world:
        world.split(shadow=100)
        ids(world, 1.0, count=50)
        shadow = world.seen("canary").shadow
        assert shadow.requests == 0
        assert 50 - shadow.dropped in {32, 33}  # the queue's, and the one that waits for its turn
