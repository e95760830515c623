"""Passes of reconcile, killed before each thing that they change: a process forked for each kill.

`python -m tests.pipeline.reconcile_kills FOLDER SERVER [COUNT]` promotes versions of the world in FOLDER by turns. Each
time the pass is killed (SIGKILL) one call later: before a call that changes the base path, or before a statement that
changes a database. What is live must be one of the two versions after each kill, and the next pass has to finish. A
line a kill. COUNT: so many points of each kind, chosen by that seed; without it, all.
"""

import importlib
import os
import random
import signal
import sys
from pathlib import Path

from tests.pipeline.reconcile_world import NAME, ReconcileWorld
from tests.serving.stores.kill_points import die_before_call

HEAVY = (
    "pipeline.reconcile.settle",
    "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.store.model_registry.sqlalchemy_store",
    "registry.database",
)
_WRITES_OF_A_PASS = {"file": 10, "statement": 18}  # by turns; all of them are in a run without COUNT
_WRITES = ("INSERT", "UPDATE", "DELETE")


def die_before_statement(point):
    """Arrange that this process is killed before its statement number `point` that writes to a database; 0: never."""
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    left = [point]

    @event.listens_for(Engine, "before_cursor_execute")
    def count(_connection, _cursor, statement, _parameters, _context, _many):
        if statement.lstrip().upper().startswith(_WRITES):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)


def pass_in_child(world, kind, point):
    """One pass in a fork of this process, killed at the point; its exit code."""
    child = os.fork()
    if child == 0:
        code = 99
        try:
            if kind == "file":
                die_before_call(point, world.base)
            elif kind == "statement":
                die_before_statement(point)
            code = world.once().exit_code
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def promote_and_kill(world, kind, point, version, other):
    """Move the alias and kill the pass at the point; whether it was killed at all. Then the next pass finishes."""
    world.champion(version)
    code = pass_in_child(world, kind, point)
    assert code in {0, -signal.SIGKILL}, f"killed before {kind} {point}, it ended with {code}"
    labels, models = world.listing()
    assert labels.labels["stable"] in {version, other}, f"after a kill before {kind} {point}: {labels}"
    assert models.versions <= {version, other}
    if code == 0:
        return False
    finished = pass_in_child(world, "", 0)
    assert finished == 0, f"after a kill before {kind} {point}, the next pass ended with {finished}"
    world.assert_live(version)
    labels, models = world.listing()
    assert labels.versions == {version, other}, labels
    assert not models.candidates
    left = [path.name for path in (world.base / NAME).iterdir() if path.name.startswith(".")]
    assert not left, f"after a kill before {kind} {point} there is {left}"
    assert world.tags(version)["slipway.deploy"] == "live"
    assert pass_in_child(world, "", 0) == 0
    return True


def main():
    world = ReconcileWorld(Path(sys.argv[1]), made=False)
    world.addresses = sys.argv[2]
    wanted = int(sys.argv[3]) if len(sys.argv) > 3 else 0
    for heavy in HEAVY:
        importlib.import_module(heavy)
    kills = 0
    live, other = 1, 2
    for kind in ("file", "statement"):
        points = range(1, 1000)
        if wanted:
            points = sorted(random.Random(f"{wanted} {kind}").sample(range(1, _WRITES_OF_A_PASS[kind]), wanted))
        for point in points:
            if not promote_and_kill(world, kind, point, other, live):
                live, other = other, live
                break
            kills += 1
            live, other = other, live
            sys.stdout.write(f"killed before {kind} {point:3}: finished by the next pass\n")
            sys.stdout.flush()
    sys.stdout.write(f"{kills} kills, always one of the two live, always finished by the next pass\n")


if __name__ == "__main__":
    main()
