"""Passes over a cluster, killed before each thing that they change: a process forked for each kill.

`python -m tests.kubernetes_server.kills FOLDER KIND FIRST LAST`: promotes version 2 and 1 by turns and kills the pass
(SIGKILL) before its write number FIRST to the cluster (KIND write), or before its statement of that number that changes
a database (KIND statement). The next pass has to finish. So on to LAST, or until a pass ends without being killed.
"""

import importlib
import os
import signal
import sys
from pathlib import Path

from tests.kubernetes_server.cluster_world import ClusterWorld
from tests.pipeline.reconcile_kills import HEAVY, die_before_statement

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


def pass_in_child(world, kind="", point=0):
    """One pass in a fork of this process, killed at the point; its exit code."""
    child = os.fork()
    if child == 0:
        code = 99
        try:
            {"write": die_before_write, "statement": die_before_statement}.get(kind, lambda _point: None)(point)
            report = world.once()
            sys.stdout.write(report.text() + "\n")
            sys.stdout.flush()
            code = report.exit_code
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main():
    world = ClusterWorld(Path(sys.argv[1]), made=False)
    kind, first, last = sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    for heavy in (*HEAVY, "kubernetes.client", "boto3"):
        importlib.import_module(heavy)
    kills = 0
    for point in range(first, last + 1):
        wanted = 3 - (world.registry.aliases("digits").get("champion") or 1)
        world.champion(wanted)
        code = pass_in_child(world, kind, point)
        if code == 0:
            break
        assert code == -signal.SIGKILL, f"killed before {kind} {point}, it ended with {code}"
        assert pass_in_child(world) == 0, f"after a kill before {kind} {point}"
        world.assert_live(wanted)
        assert pass_in_child(world) == 0
        sys.stdout.write(f"killed before {kind} {point}: version {wanted} is live\n")
        sys.stdout.flush()
        kills += 1
    sys.stdout.write(f"{kills} kills, each finished by the next pass\n")


if __name__ == "__main__":
    main()
