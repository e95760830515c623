"""The command line, killed before each of its calls that change the disk: a process forked for each kill.

`python -m tests.pipeline.lifecycle_kills BASE NAME VERSION` runs `slipway export --name NAME --version VERSION --base
BASE` again and again. After each kill nothing partial may be below BASE, and the next run has to finish. It prints a
line a kill, and leaves with an error at the first failure.
"""

import importlib
import os
import shutil
import signal
import sys
from pathlib import Path

from pipeline.cli import main
from serving.servable.verification import verify_published
from tests.serving.stores.kill_points import die_before_call

# Imported before the forks, rather than in each of them.
HEAVY = (
    "pipeline.lifecycle",
    "pipeline.publication",
    "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.store.model_registry.sqlalchemy_store",
)


def kill_everywhere(base, words, name, version):
    """Kill before the first call, the second, and so on, until a run finishes; return the number of kills."""
    point = 1
    while (code := run_in_child(words, base, point)) != 0:
        assert code == -signal.SIGKILL, f"killed before call {point}, it ended with {code}"
        left = check_nothing_partial(base, name)
        assert run_in_child(words, base, 0) == 0, f"after a kill before call {point}, the next run failed"
        check_nothing_partial(base, name)
        present = sorted(path.relative_to(base).as_posix() for path in base.glob("*/*"))
        assert present == [f"{name}/{version}"], f"after a kill before call {point}, the next run left {present}"
        sys.stdout.write(f"killed before call {point:3}: {left}, finished by the next run\n")
        shutil.rmtree(base)
        point += 1
    return point - 1


def run_in_child(words, base, point):
    """Run the command in a fork of this process, killed before call number `point`; return its exit code."""
    child = os.fork()
    if child == 0:
        die_before_call(point, base)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        try:
            main(words, prog_name="slipway")
        except SystemExit as end:
            os._exit(end.code or 0)
        except BaseException:  # noqa: BLE001 - a fork must never return into its parent's code
            os._exit(99)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def check_nothing_partial(base, name):
    """What is there, in words; IntegrityError if a version directory is not whole."""
    versions = [path for path in base.glob(f"{name}/*") if path.name.isdigit()]
    for version in versions:
        verify_published(version, None)
    leftovers = len(list(base.glob(f"{name}/.*")))
    return f"{'whole' if versions else 'absent'}, {leftovers} leftover{'' if leftovers == 1 else 's'}"


if __name__ == "__main__":
    where, model, number = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    for heavy in HEAVY:
        importlib.import_module(heavy)
    kills = kill_everywhere(
        where, ["export", "--name", model, "--version", number, "--base", str(where)], model, number
    )
    sys.stdout.write(f"{kills} kills, never a partial version, always finished by the next run\n")
