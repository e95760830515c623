"""Golden requests are asked once before a label moves: by whoever deploys the version, or else by the server."""

import gc
import threading
import weakref

import numpy as np
import pytest

from serving.model_server.choosing import Candidate
from serving.model_server.errors import ServingError
from serving.model_server.lifecycle import State
from serving.model_server.load_rules import LoadRules
from serving.model_server.loading import checked_loader
from serving.model_server.models import Models
from serving.model_server.pace import Pace
from serving.model_server.runtimes import Loaded, Variant
from serving.model_server.runtimes.classifier import open_variant
from serving.model_server.witness import Witness
from serving.servable.golden import check_golden, load_golden
from serving.servable.layout import REFERENCE_VARIANT, published_path
from serving.servable.manifest import read_manifest
from serving.wire.status_pb2 import Code
from slipway.errors import IntegrityError
from tests.serving.model_server.fakes import FakeRuntime, eventually, put_version, settings, spec
from tests.serving.model_server.servables import COUNT, publish_servable

FEW = 2  # asked of each signature before it is AVAILABLE
OUTPUTS = ("output", "class_id")


class Recorder:
    """Stands for the SavedModel's graph, asks the ONNX variant, and keeps what it was asked. spoil: changes answers."""

    def __init__(self, inner):
        self.inner, self.signatures = inner, inner.signatures
        self.asked = {"serving_default": 0, "serving_bytes": 0}
        self.spoil = lambda _name, output: output
        self.before = lambda: None

    def run(self, name, inputs, outputs):
        self.asked[name] += len(next(iter(inputs.values())))
        self.before()
        found = self.inner.run(name, inputs, outputs)
        return {**found, "output": self.spoil(name, found["output"])} if "output" in found else found

    def close(self):
        self.inner.close()


@pytest.fixture
def version(tmp_path):
    return publish_servable(tmp_path / "m", 1, {"onnx-fp32": 20.0})


@pytest.fixture
def recorders():
    return []


@pytest.fixture
def loaded(version, recorders):
    manifest = read_manifest(version / published_path("manifest.json"))

    def load(directory):
        recorders.append(Recorder(open_variant("onnxruntime", "onnx-fp32", manifest)(directory)))
        return recorders[-1]

    found = checked_loader(lambda *_: [Candidate(REFERENCE_VARIANT, load)])(version)
    yield found
    found.runtime.close()


@pytest.fixture
def golden(version):
    return load_golden(version / published_path("golden"))


def always():
    return True


def ask_all(runtime, golden):
    return check_golden(golden, lambda name, inputs: runtime.run(name, inputs, OUTPUTS), 1e-3)


def test_what_nobody_asks_the_server_asks_and_nothing_twice(loaded, recorders):
    assert recorders[0].asked == {"serving_default": FEW, "serving_bytes": FEW}
    loaded.owed(0.0, always)
    assert recorders[0].asked == {"serving_default": COUNT, "serving_bytes": COUNT}


def test_what_others_ask_the_server_does_not_ask_again(loaded, recorders, golden):
    assert ask_all(loaded.runtime, golden).passed
    before = dict(recorders[0].asked)
    loaded.owed(60.0, always)
    assert recorders[0].asked == before


def test_what_others_begin_to_ask_is_left_to_them_and_the_rest_asked_when_they_stop(loaded, recorders, golden):
    loaded.runtime.run("serving_default", {"input": golden.pixels.astype(np.float32)}, OUTPUTS)
    before = recorders[0].asked["serving_default"]
    loaded.owed(0.2, always)
    assert recorders[0].asked == {"serving_default": before, "serving_bytes": COUNT}


@pytest.mark.parametrize("wrong", [0.1, np.nan])
def test_a_wrong_answer_to_others_is_none_and_the_server_refuses_the_version(loaded, recorders, golden, wrong):
    recorders[0].spoil = lambda name, output: output + np.float32(wrong if name == "serving_bytes" else 0)
    assert not ask_all(loaded.runtime, golden).passed
    with pytest.raises(IntegrityError, match="golden requests are not answered as when it was built"):
        loaded.owed(0.0, always)


def test_a_request_without_the_outputs_that_are_compared_counts_for_nothing(loaded, recorders, golden):
    answer = loaded.runtime.run("serving_default", {"input": golden.pixels.astype(np.float32)}, ["class_id"])
    assert set(answer) == {"class_id"}
    loaded.owed(0.0, always)
    assert recorders[0].asked["serving_default"] == COUNT + COUNT


class Loadless(Pace):
    """A pace that calls `once` when it is first asked whether it is busy."""

    def __init__(self, once):
        super().__init__()
        self.left = [once]

    def is_busy(self):
        while self.left:
            self.left.pop()()
        return False


def test_what_others_answers_take_off_last_is_no_refusal(version, loaded, recorders, golden):
    witness = Witness(recorders[0], golden, 1e-3, pytest.fail, Loadless(lambda: ask_all(witness, golden)))
    witness.settle(0.0, always)
    assert recorders[0].asked == {"serving_default": FEW + COUNT, "serving_bytes": FEW + COUNT}


def test_what_others_are_still_being_answered_is_left_to_them(loaded, recorders, golden):
    go_on, begun = threading.Event(), threading.Event()

    def wait():
        begun.set()
        assert go_on.wait(30)

    recorders[0].before = wait
    deployer = threading.Thread(target=ask_all, args=(loaded.runtime, golden))
    deployer.start()
    assert begun.wait(30)
    recorders[0].before = lambda: None
    before = dict(recorders[0].asked)
    server = threading.Thread(target=loaded.owed, args=(0.1, always))
    server.start()
    server.join(0.5)
    assert server.is_alive()
    assert recorders[0].asked == before
    go_on.set()
    deployer.join(30)
    server.join(30)
    assert recorders[0].asked == {"serving_default": FEW + COUNT, "serving_bytes": FEW + COUNT}


def test_others_that_fail_are_no_longer_being_answered(loaded, recorders, golden):
    def fail():
        raise MemoryError

    recorders[0].before = fail
    with pytest.raises(MemoryError):
        ask_all(loaded.runtime, golden)
    recorders[0].before = lambda: None
    loaded.owed(0.1, always)
    assert recorders[0].asked["serving_bytes"] == COUNT


@pytest.mark.parametrize("patience_s", [0.0, 60.0])
def test_the_server_stops_asking_a_version_that_is_no_longer_wanted(loaded, recorders, patience_s):
    wanted = [True, True, False]
    loaded.owed(patience_s, lambda: wanted.pop(0))
    assert wanted == []
    assert sum(recorders[0].asked.values()) <= 2 * FEW + 2 * 8


def test_what_fails_for_a_moment_is_asked_again_where_it_was_left(loaded, recorders):
    failures = [MemoryError(), None, MemoryError()]

    def fail():
        if failures and (failure := failures.pop(0)):
            raise failure

    recorders[0].before = fail
    for _ in range(2):
        with pytest.raises(MemoryError):
            loaded.owed(0.0, always)
    loaded.owed(0.0, always)
    assert sum(recorders[0].asked.values()) == 2 * COUNT + 2 * 8


@pytest.mark.parametrize("end", ["settled", "refused", "going", "malformed"])
def test_golden_pictures_are_kept_only_while_they_are_owed(recorders, loaded, version, end):
    golden = load_golden(version / published_path("golden"))

    def refuse(_report):
        raise IntegrityError("wrong")

    witness, kept = Witness(recorders[0], golden, 1e-3, refuse, Pace()), weakref.ref(golden)
    del golden
    if end in {"refused", "malformed"}:
        recorders[0].spoil = lambda _name, output: output + np.float32(1) if end == "refused" else output[:, :1]
        with pytest.raises(IntegrityError):
            witness.settle(0.0, always)
    else:
        witness.settle(0.0, lambda: end == "settled")
    gc.collect()
    assert kept() is None


class Owing:
    """Loads whose version owes something until `pay` is set; `error` is what it then ends by, or `errors` in turn."""

    def __init__(self):
        self.pay, self.error, self.errors, self.patience_s = threading.Event(), None, [], []
        self.runtimes, self.given_up = [], 0

    def __call__(self, path):
        runtime = FakeRuntime(float((path / "saved_model.pb").read_text()))
        self.runtimes.append(runtime)
        return Loaded(runtime, Variant("fake"), (), self.owed if path.name == "2" else None)

    def owed(self, patience_s, is_wanted):
        if not is_wanted():
            self.given_up += 1
            return
        self.patience_s.append(patience_s)
        while not self.pay.wait(0.01):
            if not is_wanted():
                return
        if self.errors or self.error:
            raise self.errors.pop(0) if self.errors else self.error


@pytest.fixture
def owing():
    return Owing()


@pytest.fixture
def models(tmp_path, owing):
    """Version 1 is stable; version 2 is there, and owes."""
    made = Models(LoadRules(owing, retries=3, retry_interval_s=0.05), default_label="stable")
    put_version(tmp_path / "m", 1, 1)
    put_version(tmp_path / "m", 2, 2)
    made.configure([wanted(tmp_path, stable=1)])
    eventually(lambda: all(each.state == State.AVAILABLE for each in made.versions(spec())))
    return made


def wanted(folder, **labels):
    return settings(folder / "m", specific=[1, 2], labels=labels)


def number(models, **which):
    with models.acquire(spec(**which)) as lease:
        return lease.number


def test_a_version_beside_what_is_live_owes_and_only_its_number_reaches_it(tmp_path, models, owing):
    assert number(models, version=2) == 2
    models.configure([wanted(tmp_path, stable=2)])
    assert number(models) == number(models, label="stable") == 1
    models.configure([wanted(tmp_path)])
    assert number(models) == 1
    for wish in (1, 2):
        models.configure([wanted(tmp_path, stable=wish)])
    owing.pay.set()
    eventually(lambda: number(models) == 2)
    assert owing.patience_s[0] > 0


def test_a_version_that_unnamed_requests_would_reach_is_available_only_when_it_owes_nothing(tmp_path, owing):
    models = Models(LoadRules(owing), default_label="stable")
    put_version(tmp_path / "m", 2, 2)
    models.configure([settings(tmp_path / "m")])
    eventually(lambda: owing.patience_s == [0.0])
    assert [each.state for each in models.versions(spec())] == [State.LOADING]
    owing.pay.set()
    eventually(models.ready)
    assert number(models) == 2


def test_a_version_that_unnamed_requests_would_reach_and_does_not_do_what_it_owes_is_not_loaded(tmp_path, owing):
    models = Models(LoadRules(owing), default_label="stable")
    put_version(tmp_path / "m", 2, 2)
    owing.error = IntegrityError("other answers")
    owing.pay.set()
    models.configure([settings(tmp_path / "m")])
    eventually(lambda: models.versions(spec())[0].failure is not None)
    assert models.versions(spec())[0].status().status.error_message == "other answers"


def test_no_label_moves_to_a_version_that_does_not_do_what_it_owes(tmp_path, models, owing):
    owing.error = IntegrityError("other answers")
    models.configure([wanted(tmp_path, stable=2)])
    owing.pay.set()
    eventually(lambda: models.versions(spec(version=2))[0].status().status.error_message == "other answers")
    assert number(models) == number(models, label="stable") == 1
    with pytest.raises(ServingError, match="Request to assign label to version 2 of model m"):
        models.reload([wanted(tmp_path, stable=2)])


def test_what_may_pass_is_tried_again_and_the_label_moves(tmp_path, models, owing):
    owing.errors = [MemoryError("for a moment"), ServingError(Code.RESOURCE_EXHAUSTED, "for a moment")]
    models.configure([wanted(tmp_path, stable=2)])
    owing.pay.set()
    eventually(lambda: number(models) == 2)
    assert models.versions(spec(version=2))[0].status().status.error_message == ""
    assert len(owing.patience_s) == 3


def test_what_does_not_pass_is_a_fault_in_the_end_and_nothing_is_kept_for_it(tmp_path, models, owing):
    owing.error = MemoryError("for good")
    models.configure([wanted(tmp_path, stable=2)])
    owing.pay.set()
    eventually(lambda: "for good" in models.versions(spec(version=2))[0].status().status.error_message)
    assert number(models) == number(models, label="stable") == 1
    assert len(owing.patience_s) == 4
    assert owing.given_up == 1


def test_a_refusal_is_not_tried_again(tmp_path, models, owing):
    owing.error = IntegrityError("other answers")
    owing.pay.set()
    eventually(lambda: models.versions(spec(version=2))[0].faults)
    assert len(owing.patience_s) == 1
    assert models.versions(spec(version=2))[0].owes


def test_a_version_that_owes_is_unloaded_at_once_and_without_a_fault(tmp_path, models, owing):
    going = models.versions(spec(version=2))[0]
    models.configure([settings(tmp_path / "m", specific=[1], labels={"stable": 1})])
    eventually(lambda: going.state == State.END, 5)
    assert going.faults == []
    assert going.owes
    assert owing.runtimes[0].closed


def test_a_version_that_is_to_try_again_is_unloaded_at_once_and_without_a_fault(tmp_path, owing):
    models = Models(LoadRules(owing, retry_interval_s=60.0, retries=30), default_label="stable")
    put_version(tmp_path / "m", 1, 1)
    put_version(tmp_path / "m", 2, 2)
    owing.errors = [MemoryError("for a moment")] * 5
    owing.pay.set()
    models.configure([wanted(tmp_path, stable=1)])
    eventually(lambda: len(owing.patience_s) == 3, 20)  # and now a pause of 3 s
    going = models.versions(spec(version=2))[0]
    models.configure([settings(tmp_path / "m", specific=[1], labels={"stable": 1})])
    eventually(lambda: going.state == State.END, 1.5)
    assert going.faults == []


def test_a_reload_that_moves_a_label_waits_for_what_its_version_owes(tmp_path, models, owing):
    reload = threading.Thread(target=models.reload, args=([wanted(tmp_path, stable=2)],))
    reload.start()
    reload.join(0.2)
    assert reload.is_alive()
    assert number(models) == 1
    owing.pay.set()
    reload.join(30)
    assert number(models) == 2
