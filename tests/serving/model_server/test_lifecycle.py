"""Versions come and go; requests always find one."""

import shutil
import threading
import time

import pytest

from serving.model_server.errors import ServingError
from serving.model_server.load_rules import LoadRules
from serving.model_server.models import Models
from serving.model_server.runtimes import Loaded, Variant
from serving.model_server.version import State
from serving.wire.status_pb2 import Code
from slipway.errors import IntegrityError
from tests.serving.model_server.fakes import FakeLoads, FakeRuntime, eventually, put_version, settings, spec


@pytest.fixture
def base(tmp_path):
    return tmp_path / "m"


@pytest.fixture
def loads():
    return FakeLoads()


@pytest.fixture
def models(loads):
    return Models(LoadRules(loads), default_label="stable")


def states(models, name="m"):
    return {version.number: State.Name(version.state) for version in models.versions(spec(name))}


def answering(models, **which):
    with models.acquire(spec(**which)) as lease:
        return lease.number


def available(models, number):
    eventually(lambda: states(models).get(number) == "AVAILABLE")


def start(models, *wanted, number):
    models.configure(wanted)
    available(models, number)


def test_the_highest_version_is_loaded_and_answers(base, models):
    for number in (1, 2, 10):
        put_version(base, number, number)
    start(models, settings(base), number=10)
    assert states(models) == {10: "AVAILABLE"}
    assert answering(models) == 10


def test_the_old_version_answers_until_the_new_one_is_available_and_then_goes(base, models, loads):
    put_version(base, 1, 1)
    start(models, settings(base), number=1)
    gate = loads.hold(put_version(base, 2, 2))
    models.look()
    eventually(lambda: states(models) == {2: "LOADING", 1: "AVAILABLE"})
    assert answering(models) == 1
    gate.set()
    eventually(lambda: states(models) == {2: "AVAILABLE", 1: "END"})
    assert answering(models) == 2
    assert loads.loaded[str(base / "1")].closed


def test_a_version_in_use_is_unloaded_only_when_its_last_request_ends(base, models, loads):
    put_version(base, 1, 1)
    start(models, settings(base), number=1)
    with models.acquire(spec()) as lease:
        put_version(base, 2, 2)
        models.look()
        eventually(lambda: states(models) == {2: "AVAILABLE", 1: "UNLOADING"})
        assert answering(models) == 2
        with pytest.raises(ServingError, match=r"Specific\(m, 1\)"):
            models.acquire(spec(version=1))
        assert not lease.runtime.closed
    eventually(lambda: states(models)[1] == "END")
    assert lease.runtime.closed


def test_a_version_that_fails_to_load_says_why_and_the_old_one_stays(base, models):
    put_version(base, 1, 1)
    start(models, settings(base), number=1)
    put_version(base, 2, "broken")
    models.look()
    eventually(lambda: states(models)[2] == "END")
    status = models.versions(spec(version=2))[0].status()
    assert status.status.error_code == Code.INTERNAL
    assert "could not convert string to float: 'broken'" in status.status.error_message
    assert states(models)[1] == "AVAILABLE"
    assert answering(models) == 1


def test_a_failed_version_is_loaded_again_when_its_directory_is_replaced(base, models, loads):
    broken = put_version(base, 1, "broken")
    models.configure([settings(base)])
    eventually(lambda: states(models) == {1: "END"})
    models.look()
    assert len(loads.attempts) == 1
    shutil.rmtree(broken)
    put_version(base, 1, 5)
    models.look()
    available(models, 1)


def test_a_failed_load_is_tried_again_after_the_interval_as_often_as_is_allowed(base, loads):
    now = [0.0]
    models = Models(LoadRules(loads, retries=2, retry_interval_s=60, clock=lambda: now[0]))
    put_version(base, 1, "broken")
    models.configure([settings(base)])
    for attempts, elapsed_s in ((1, 59), (1, 1), (2, 59), (2, 1), (3, 600)):
        eventually(lambda attempts=attempts: len(loads.attempts) == attempts and states(models) == {1: "END"})
        now[0] += elapsed_s
        models.look()
    assert len(loads.attempts) == 3


def test_bytes_that_fail_their_check_are_not_tried_again_by_time(base):
    attempts = []

    def load(path):
        attempts.append(path)
        raise IntegrityError("its digest is another one")

    now = [0.0]
    models = Models(LoadRules(load, retry_interval_s=1, clock=lambda: now[0]))
    put_version(base, 1, 1)
    models.configure([settings(base)])
    eventually(lambda: states(models) == {1: "END"})
    assert models.versions(spec())[0].failure.code == Code.DATA_LOSS
    now[0] += 100
    models.look()
    assert len(attempts) == 1


def test_a_slow_load_delays_no_other_model(tmp_path, models, loads):
    gate = loads.hold(put_version(tmp_path / "a", 1, 1))
    put_version(tmp_path / "b", 1, 1)
    models.configure([settings(tmp_path / "a", name="a"), settings(tmp_path / "b", name="b")])
    eventually(lambda: states(models, "b") == {1: "AVAILABLE"})
    assert states(models, "a") == {1: "LOADING"}
    assert not models.ready()
    gate.set()
    eventually(models.ready)


def test_specific_versions_are_served_side_by_side(base, models):
    for number in (1, 2, 3):
        put_version(base, number, number)
    start(models, settings(base, specific=[1, 3]), number=1)
    eventually(lambda: states(models) == {3: "AVAILABLE", 1: "AVAILABLE"})
    assert answering(models) == 3
    assert answering(models, version=1) == 1


def test_a_rollback_to_a_lower_version_needs_no_label(base, models):
    for number in (1, 2):
        put_version(base, number, number)
    start(models, settings(base, specific=[2]), number=2)
    models.configure([settings(base, specific=[1])])
    eventually(lambda: states(models) == {2: "END", 1: "AVAILABLE"})
    assert answering(models) == 1
    models.configure([settings(base, specific=[2])])
    eventually(lambda: states(models) == {2: "AVAILABLE", 1: "END"})


def test_unlabelled_requests_go_to_the_default_label_and_else_to_the_highest(base, models):
    for number in (1, 2):
        put_version(base, number, number)
    start(models, settings(base, specific=[1, 2], labels={"stable": 1, "canary": 2}), number=1)
    assert answering(models) == 1
    assert answering(models, label="canary") == 2
    models.configure([settings(base, specific=[1, 2])])
    assert answering(models) == 2
    with pytest.raises(ServingError, match="Unrecognized servable version label: canary"):
        models.acquire(spec(label="canary"))


def test_no_other_version_answers_while_the_one_with_the_default_label_is_still_loading(base, models, loads):
    put_version(base, 2, 2)
    gate = loads.hold(put_version(base, 1, 1))
    start(models, settings(base, specific=[1, 2], labels={"stable": 1}), number=2)
    with pytest.raises(ServingError, match="Servable not found for request: Latest"):
        models.acquire(spec())
    gate.set()
    available(models, 1)
    assert answering(models) == 1


def test_a_label_moves_only_when_its_version_is_available(base, models, loads):
    put_version(base, 1, 1)
    start(models, settings(base, specific=[1], labels={"stable": 1}), number=1)
    gate = loads.hold(put_version(base, 2, 2))
    models.configure([settings(base, specific=[1, 2], labels={"stable": 2})])
    eventually(lambda: states(models)[2] == "LOADING")
    assert answering(models, label="stable") == 1
    gate.set()
    available(models, 2)
    assert answering(models, label="stable") == 2
    assert answering(models) == 2


def test_a_version_that_bears_a_label_stays_when_the_labels_new_version_fails(base, models):
    put_version(base, 1, 1)
    start(models, settings(base, specific=[1], labels={"stable": 1}), number=1)
    put_version(base, 2, 2)
    put_version(base, 3, "broken")
    models.configure([settings(base, specific=[2, 3], labels={"stable": 3})])
    eventually(lambda: states(models) == {3: "END", 2: "AVAILABLE", 1: "AVAILABLE"})
    assert answering(models) == 1


def test_a_new_label_may_wait_for_its_version_where_that_is_allowed(base, loads):
    models = Models(LoadRules(loads, labels_may_wait=True))
    put_version(base, 1, 1)
    gate = loads.hold(base / "1")
    models.configure([settings(base, labels={"stable": 1})])
    with pytest.raises(ServingError, match=r"Servable not found for request: Specific\(m, 1\)"):
        models.acquire(spec(label="stable"))
    gate.set()
    available(models, 1)
    assert answering(models, label="stable") == 1


def test_an_emptied_base_path_unloads_everything_and_says_so(base, models, caplog):
    put_version(base, 1, 1)
    start(models, settings(base), number=1)
    shutil.rmtree(base / "1")
    models.look()
    eventually(lambda: states(models) == {1: "END"})
    assert "no versions below" in caplog.text
    with pytest.raises(ServingError, match=r"Servable not found for request: Latest\(m\)"):
        models.acquire(spec())


def test_a_base_path_that_cannot_be_listed_changes_nothing_and_says_so_once(base, models, caplog):
    put_version(base, 1, 1)
    start(models, settings(base), number=1)
    base.rename(base.parent / "moved")
    for _ in range(3):
        models.look()
    assert answering(models) == 1
    assert caplog.text.count("cannot be listed") == 1


def test_specific_versions_that_are_not_there_yet_leave_the_old_one(base, models, caplog):
    put_version(base, 1, 1)
    start(models, settings(base, specific=[1]), number=1)
    models.configure([settings(base, specific=[7])])
    models.look()
    assert answering(models) == 1
    assert "none of the versions asked for" in caplog.text


def test_a_model_that_leaves_the_config_is_unloaded_and_may_come_back(tmp_path, base, models):
    put_version(base, 1, 1)
    put_version(tmp_path / "other", 1, 1)
    other = settings(tmp_path / "other", name="other")
    start(models, settings(base), other, number=1)
    models.configure([other])
    eventually(lambda: states(models) == {1: "END"})
    assert [model.name for model in models.served()] == ["other"]
    start(models, settings(base), other, number=1)
    assert answering(models) == 1


def test_reload_waits_for_new_models_and_then_moves_labels(base, models):
    put_version(base, 1, 1)
    models.reload([settings(base, labels={"stable": 1})])
    assert answering(models, label="stable") == 1


def test_reload_refuses_a_label_on_an_unavailable_version_and_the_old_label_stays(base, models):
    put_version(base, 1, 1)
    models.reload([settings(base, labels={"stable": 1})])
    with pytest.raises(ServingError, match="which is not currently available for inference") as refusal:
        models.reload([settings(base, labels={"stable": 2})])
    assert refusal.value.code == Code.FAILED_PRECONDITION
    put_version(base, 2, 2)
    models.configure([settings(base, specific=[1, 2], labels={"stable": 1})])
    available(models, 2)
    assert answering(models, label="stable") == 1


def test_reload_says_which_new_model_did_not_come_up(base, models):
    put_version(base, 1, "broken")
    with pytest.raises(ServingError, match=r"Some models did not become available: \{m\}") as refusal:
        models.reload([settings(base)])
    assert refusal.value.code == Code.UNKNOWN


def test_requests_in_ten_threads_never_fail_while_versions_come_and_go(base, models):
    for number in (1, 2, 3):
        put_version(base, number, number)
    start(models, settings(base, specific=[1]), number=1)
    stop, failures, answered = threading.Event(), [], set()

    def ask():
        while not stop.is_set():
            try:
                with models.acquire(spec()) as lease:
                    assert not lease.runtime.closed
                    answered.add(lease.number)
                time.sleep(0.0005)
            except Exception as error:  # noqa: BLE001  any failure at all
                failures.append(error)
                return

    threads = [threading.Thread(target=ask) for _ in range(10)]
    for thread in threads:
        thread.start()
    for number in (2, 1, 3, 1, 2, 3) * 5:
        models.configure([settings(base, specific=[number])])
        eventually(lambda number=number: states(models)[number] == "AVAILABLE" and answering(models) == number)
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert answered == {1, 2, 3}


def test_work_for_later_is_done_while_the_version_answers_and_its_unload_waits_for_it(base):
    begun, finish, runtime = threading.Event(), threading.Event(), FakeRuntime(1)

    def work():
        begun.set()
        assert finish.wait(30)

    later = (work, lambda: pytest.fail("not after the unload was asked for"))
    models = Models(LoadRules(lambda _path: Loaded(runtime, Variant("fake"), later)))
    put_version(base, 1, 1)
    start(models, settings(base), number=1)
    assert begun.wait(30)
    assert answering(models) == 1
    models.configure([])
    assert states(models) == {1: "UNLOADING"}
    assert not runtime.closed
    finish.set()
    eventually(lambda: states(models) == {1: "END"})
    assert runtime.closed


def test_a_fault_that_is_found_later_is_said_and_the_version_goes_on_answering(base, caplog):
    def damaged():
        raise IntegrityError("file 'model.onnx' has sha256 0")

    done = threading.Event()
    loaded = Loaded(FakeRuntime(1), Variant("fake"), (damaged, done.set))
    models = Models(LoadRules(lambda _path: loaded))
    put_version(base, 1, 1)
    start(models, settings(base), number=1)
    assert done.wait(30)
    status = models.versions(spec())[0].status()
    assert (status.state, status.status.error_code) == (State.AVAILABLE, Code.DATA_LOSS)
    assert status.status.error_message == "file 'model.onnx' has sha256 0"
    assert "m/1 has a fault, and goes on with what was checked: file 'model.onnx'" in caplog.text
    assert answering(models) == 1
