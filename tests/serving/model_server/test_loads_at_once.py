"""How many versions load and unload at once, retries that nobody polls for, and memory that goes back."""

import subprocess
import sys
import threading

import pytest

from serving.model_server.load_rules import LoadRules
from serving.model_server.models import Models
from serving.model_server.version import State
from tests.serving.model_server.fakes import FakeLoads, eventually, put_version, settings, spec


def states(models, name):
    return {version.number: version.state for version in models.versions(spec(name))}


def test_no_more_versions_load_at_once_than_there_are_threads_and_all_get_their_turn(tmp_path):
    loads = FakeLoads()
    models = Models(LoadRules(loads, load_slots=threading.BoundedSemaphore(2)))
    names = ("a", "b", "c")
    gates = {name: loads.hold(put_version(tmp_path / name, 1, 1)) for name in names}
    models.configure([settings(tmp_path / name, name=name) for name in names])
    eventually(lambda: len(loads.attempts) == 2)
    first = {path.parent.name for path in loads.attempts}
    (waiting,) = set(names) - first
    assert not threading.Event().wait(0.2)
    assert len(loads.attempts) == 2
    gates[min(first)].set()
    eventually(lambda: len(loads.attempts) == 3)
    gates[waiting].set()
    gates[max(first)].set()
    eventually(models.ready)


def test_a_load_that_fails_again_and_again_holds_no_thread_between_its_tries(tmp_path):
    loads = FakeLoads()
    rules = LoadRules(loads, retries=1000, retry_interval_s=0.05, load_slots=threading.BoundedSemaphore(1))
    models = Models(rules)
    put_version(tmp_path / "broken", 1, "broken")
    models.configure([settings(tmp_path / "broken", name="broken")])
    eventually(lambda: len(loads.attempts) >= 3)
    put_version(tmp_path / "good", 1, 1)
    models.configure([settings(tmp_path / name, name=name) for name in ("broken", "good")])
    eventually(lambda: models.served()[1].is_available(1))
    models.configure([])


def test_a_failed_load_is_tried_again_when_nobody_looks_for_versions(tmp_path):
    loads = FakeLoads()
    models = Models(LoadRules(loads, retries=2, retry_interval_s=0.05))
    version = put_version(tmp_path / "m", 1, "broken")
    models.configure([settings(tmp_path / "m")])
    eventually(lambda: states(models, "m") == {1: State.END})
    (version / "saved_model.pb").write_text("1")
    eventually(lambda: models.served()[0].is_available(1))
    assert 2 <= len(loads.attempts) <= 3


def test_tries_end_when_there_are_no_more(tmp_path):
    loads = FakeLoads()
    models = Models(LoadRules(loads, retries=2, retry_interval_s=0.02))
    put_version(tmp_path / "m", 1, "broken")
    models.configure([settings(tmp_path / "m")])
    eventually(lambda: len(loads.attempts) == 3)
    assert not threading.Event().wait(0.3)
    assert len(loads.attempts) == 3


def test_versions_unload_one_after_the_other_when_there_is_one_thread(tmp_path):
    loads = FakeLoads()
    models = Models(LoadRules(loads, unload_slots=threading.BoundedSemaphore(1)))
    names = ("a", "b")
    for name in names:
        put_version(tmp_path / name, 1, 1)
    models.configure([settings(tmp_path / name, name=name) for name in names])
    eventually(models.ready)
    closing, most, may_close = [0], [0], threading.Event()
    for runtime in loads.loaded.values():

        def close(runtime=runtime):
            closing[0] += 1
            most[0] = max(most[0], closing[0])
            assert may_close.wait(10)
            closing[0] -= 1
            runtime.closed = True

        runtime.close = close
    models.configure([])
    eventually(lambda: most[0] == 1)
    assert not threading.Event().wait(0.2)
    may_close.set()
    eventually(lambda: all(runtime.closed for runtime in loads.loaded.values()))
    assert most[0] == 1


# Every second block is freed: glibc keeps all of it, since it may only shorten its heap from the end.
FREE = """
from serving.model_server.memory import give_back_memory
from pathlib import Path

def resident_mb():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20

blocks = [bytearray(b"x" * 60_000) for _ in range(2500)]
kept = blocks[1::25]
del blocks
before = resident_mb()
give_back_memory()
print(before, resident_mb())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's malloc_trim")
def test_freed_memory_goes_back_to_the_system():
    done = subprocess.run([sys.executable, "-c", FREE], capture_output=True, text=True, timeout=60, check=True)
    before_mb, after_mb = map(float, done.stdout.split())
    assert before_mb > 120
    assert after_mb < before_mb - 80
