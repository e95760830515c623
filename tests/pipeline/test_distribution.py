"""Several workers: which of them one is, what it takes of each batch, and what all must have in common."""

import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as some

from pipeline.distribution.agreement import check_agreement
from pipeline.distribution.meeting import gone, meet
from pipeline.distribution.place import Place, place_from, split_address
from pipeline.distribution.shares import check_batch_size, share, shares, taken
from pipeline.distribution.supervision import Job, supervised
from slipway.errors import ConflictError, InputError, UnavailableError
from tests.pipeline.lifecycle_world import wait_until

TWO = {"worker": ["host-0:2222", "host-1:2223"]}


def tf_config(cluster=TWO, job="worker", index=0):
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": job, "index": index}})}


def test_the_first_worker_is_the_chief():
    place = place_from(tf_config(index=0))
    assert place.is_chief
    assert (place.workers, place.others) == (2, ("host-1:2223",))


def test_a_chief_that_the_cluster_names_comes_before_the_workers():
    cluster = {"worker": ["host-1:1", "host-2:1"], "chief": ["host-0:1"]}
    assert place_from(tf_config(cluster, "chief")).index == 0
    place = place_from(tf_config(cluster, index=1))
    assert (place.index, place.is_chief) == (2, False)
    assert place.addresses == ("host-0:1", "host-1:1", "host-2:1")


def test_an_index_may_be_text_as_some_launchers_write_it():
    assert place_from(tf_config(index="1")).index == 1


def test_an_address_of_ipv6_stands_in_brackets():
    assert split_address("[::1]:2222") == ("::1", 2222)


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({}, "TF_CONFIG is not set"),
        ({"TF_CONFIG": " "}, "TF_CONFIG is not set"),
        ({"TF_CONFIG": "{"}, "TF_CONFIG is not JSON"),
        ({"TF_CONFIG": "[]"}, "TF_CONFIG has no cluster and task"),
        (tf_config({}), "cluster.worker is empty"),
        (tf_config({"worker": []}), "cluster.worker is empty"),
        (tf_config({"worker": "host:1"}), "cluster.worker is 'host:1'"),
        (tf_config({**TWO, "ps": ["host:1"]}), "cluster.ps"),
        (tf_config({"worker": ["host"]}), "cluster.worker[0] is 'host'"),
        (tf_config({"worker": ["host:1", "host:99999"]}), "cluster.worker[1] is 'host:99999'"),
        (tf_config({"worker": ["host:1", "host:1"]}), "names host:1 twice"),
        (tf_config({**TWO, "chief": ["a:1", "b:1"]}), "cluster.chief has 2 addresses"),
        (tf_config(job="evaluator"), "task.type is 'evaluator'"),
        (tf_config(job="chief"), "task.type is 'chief'"),
        (tf_config(index=2), "task.index is 2"),
        (tf_config(index=-1), "task.index is -1"),
        (tf_config(index=None), "task.index is None"),
        (tf_config(index=True), "task.index is True"),
    ],
)
def test_what_is_wrong_in_tf_config_is_named_with_what_is_expected_and_a_remedy(environment, words):
    with pytest.raises(InputError) as caught:
        place_from(environment)
    assert words in str(caught.value)
    assert "; expected " in str(caught.value)
    assert "\n" not in str(caught.value)


@given(some.integers(0, 300), some.integers(1, 70), some.integers(1, 9))
def test_the_shares_of_all_workers_put_together_are_every_batch(images, batch_size, workers):
    """In order, without an image left out or taken twice; no worker has more than one image more than another."""
    of_workers = [shares(images, batch_size, index, workers) for index in range(workers)]
    seen = []
    for number, begin in enumerate(range(0, images, batch_size)):
        parts = [own[number] for own in of_workers]
        seen += [begin + part.first + place for part in parts for place in range(part.images)]
        assert max(part.images for part in parts) - min(part.images for part in parts) <= 1
    assert seen == list(range(images))


@given(some.integers(1, 300), some.integers(1, 70), some.integers(1, 9))
def test_what_a_worker_takes_in_batches_of_its_largest_share_is_its_share_of_each(images, batch_size, workers):
    """A reader of equal batches reads them; where a worker has no image of the last batch, it has its first to read."""
    if batch_size < workers:
        return
    for index in range(workers):
        parts = shares(images, batch_size, index, workers)
        own = taken(range(images), batch_size, index, workers)
        largest = max(1, parts[0].images)
        read = [own[begin : begin + largest] for begin in range(0, len(own), largest)]
        assert len(read) == len(parts)
        for number, (part, batch) in enumerate(zip(parts, read, strict=True)):
            begin = number * batch_size
            expected = range(begin + part.first, begin + part.first + part.images) if part.images else [begin]
            assert batch == list(expected)


def test_one_worker_has_all_of_every_batch():
    assert [(part.first, part.images) for part in shares(10, 4, 0, 1)] == [(0, 4), (0, 4), (0, 2)]
    assert share(5, 1, 2).images == 2


def test_a_batch_with_fewer_images_than_workers_is_refused():
    check_batch_size(2, 2)
    with pytest.raises(InputError, match=r"train\.batch_size is 1 with 2 workers"):
        check_batch_size(1, 2)


def test_workers_that_differ_are_refused_with_every_difference_named():
    same = {"train.seed": 0, "train.epochs": 3, "dataset": "ab12"}
    check_agreement([same, dict(same)])
    with pytest.raises(InputError) as caught:
        check_agreement([same, {**same, "train.seed": 1, "dataset": "cd34"}])
    assert "worker 1 has train.seed 1, worker 0 has 0" in str(caught.value)
    assert "worker 1 has dataset 'cd34', worker 0 has 'ab12'" in str(caught.value)
    assert "epochs" not in str(caught.value)


def places(count):
    """Places of workers on this machine, at ports that are free now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = tuple(f"127.0.0.1:{each.getsockname()[1]}" for each in sockets)
    for each in sockets:
        each.close()
    return [Place(addresses, index) for index in range(count)]


def meeting(place, timeout_s=20):
    with ExitStack() as held:
        meet(place, timeout_s, held)


def test_workers_meet_whoever_comes_first_and_can_meet_again():
    three = places(3)
    for order in (three, three[::-1]):
        with ThreadPoolExecutor() as threads:
            for met in [threads.submit(meeting, place) for place in order]:
                met.result(30)


def test_a_chief_waits_past_strangers_and_workers_that_go_again():
    chief, other = places(2)
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(meeting, chief)
        for words in (b"GET / HTTP/1.1\r\n\r\n", b'{"worker": 1}\n', b'{"worker": 5}\n', b"[]"):
            with connect(chief) as stranger:
                # Words and end in one: else the chief may count it before it goes.
                stranger.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
                stranger.sendall(words)
        assert not waiting.done()
        meeting(other)
        waiting.result(30)


def connect(place):
    return wait_until(lambda: socket.create_connection(split_address(place.addresses[0]), 5), "nobody listens", 20)


def test_who_has_not_come_is_named():
    chief, other, _ = places(3)
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(meeting, chief, 1.5)
        with pytest.raises(UnavailableError, match=r"worker 0 \(127\.0\.0\.1:\d+\)"):
            meeting(other, 1)
        with pytest.raises(UnavailableError, match=r"worker 2 \(127\.0\.0\.1:\d+\) has not come"):
            waiting.result(30)


def test_a_port_that_is_taken_is_a_conflict_that_names_it():
    chief, _ = places(2)
    port = split_address(chief.addresses[0])[1]
    with socket.create_server(("", port)), pytest.raises(ConflictError, match=f"port {port} of worker 0 of 2"):
        meeting(chief, 1)


def test_who_goes_after_a_meeting_is_noticed_by_whom_he_met():
    chief, other = places(2)
    with ThreadPoolExecutor() as threads, ExitStack() as held:
        going = ExitStack()
        waiting = threads.submit(meet, chief, 20, held)
        meet(other, 20, going)
        connections = waiting.result(30)
        assert not gone(connections)
        going.close()
        deadline = time.monotonic() + 10
        while not gone(connections) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert gone(connections)


FAKE = """
import json, os, pathlib, signal, sys, time
job = json.load(sys.stdin)
starts = pathlib.Path(job["config"])
starts.write_text(starts.read_text() + "x")
first = len(starts.read_text()) == 1
tell = lambda **said: print(json.dumps(said), flush=True)
if first and job["run_id"] is None:
    os.kill(os.getpid(), signal.SIGKILL)
if first:
    time.sleep(600)
tell(event="joined"), tell(event="epoch")
if starts.name == "refused":
    tell(event="failed", kind="InputError", message="wrong; expected right. Mend it.")
tell(event="done", trained=job["run_id"] and {"run_id": job["run_id"]})
"""


@pytest.fixture
def fake_working(tmp_path, monkeypatch):
    """Processes that die or wait at the first start and are done at the second, as the workers' processes."""
    (tmp_path / "fake_working.py").write_text(FAKE)
    monkeypatch.setattr("pipeline.distribution.supervision._WORKING", "fake_working")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def job(name, run_id):
        (tmp_path / name).write_text("")
        return Job(str(tmp_path / name), run_id)

    return job


def test_all_start_again_when_the_process_of_one_dies_while_the_others_start(fake_working, tmp_path):
    chief, other = places(2)
    with ThreadPoolExecutor() as threads:
        helping = threads.submit(supervised, fake_working("other", None), other, 60)
        assert supervised(fake_working("chief", "r1"), chief, 60) == {"run_id": "r1"}
        assert helping.result(60) is None
    assert [(tmp_path / name).read_text() for name in ("chief", "other")] == ["xx", "xx"]


def test_an_error_of_a_process_is_raised_as_what_it_is(fake_working, tmp_path):
    job = fake_working("refused", "r1")
    (tmp_path / "refused").write_text("x")
    with pytest.raises(InputError, match="wrong; expected right"):
        supervised(job, places(1)[0], 5)
