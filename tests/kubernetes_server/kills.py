"""Passes over a cluster, killed before each thing that they write to it: a process forked for each kill.

`python -m tests.kubernetes_server.kills FOLDER POINT...`: promotes versions 2, 1 and 3 by turns, each of which comes up
anew and has another one deleted, and kills the pass (SIGKILL) before its write of that number to the API server. The
next pass has to finish.
"""

import importlib
import itertools
import os
import signal
import sys
from pathlib import Path

from tests.kubernetes_server.cluster_world import ClusterWorld
from tests.pipeline.reconcile_kills import HEAVY

_WRITES = {"PATCH", "DELETE"}


def die_before_write(point):
    """Arrange that this process is killed before its write number `point` to the API server."""
    from kubernetes.client import ApiClient

    send, left = ApiClient.call_api, [point]

    def counted(self, method, *words, **more):
        left[0] -= method in _WRITES
        if method in _WRITES and left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return send(self, method, *words, **more)

    ApiClient.call_api = counted


def pass_in_child(world, point=0):
    """One pass in a fork of this process, killed at the point; its exit code."""
    child = os.fork()
    if child == 0:
        code = 99
        try:
            die_before_write(point)
            report = world.once()
            sys.stdout.write(report.text() + "\n")
            sys.stdout.flush()
            code = report.exit_code
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main():
    world = ClusterWorld(Path(sys.argv[1]), made=False)
    for heavy in (*HEAVY, "kubernetes.client", "boto3"):
        importlib.import_module(heavy)
    points = [int(word) for word in sys.argv[2:]]
    for point, wanted in zip(points, itertools.cycle((2, 1, 3))):
        world.champion(wanted)
        code = pass_in_child(world, point)
        assert code == -signal.SIGKILL, f"to be killed before write {point}, it ended with {code}"
        assert pass_in_child(world) == 0, f"after a kill before write {point}"
        world.assert_live(wanted)
        sys.stdout.write(f"killed before write {point}: version {wanted} is live\n")
        sys.stdout.flush()
    sys.stdout.write(f"{len(points)} kills, each finished by the next pass\n")


if __name__ == "__main__":
    main()
