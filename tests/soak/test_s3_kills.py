"""SIGKILL of fifty publications to S3: before each request that completes something, and at moments of the upload.

The server is moto's, or the one that SLIPWAY_TEST_S3 names, with the usual credentials in the environment.
SLIPWAY_SOAK_FOLDER names a folder that keeps the kills that are done: a soak that was stopped goes on there. Run with
`-s` to see the table grow.
"""

import random

import pytest

from tests.serving.stores.s3_kills import Scene
from tests.soak.kept import Kills, soak_folder

pytestmark = pytest.mark.soak

SEED = 50
KILLS = 50
SIZE_BYTES = 120_000_000  # seven parts, and files that go whole
LONGEST_S = 2.0  # from the first part; shortened when a kill comes too late


def test_fifty_kills_leave_no_version_that_the_sync_takes_for_one_and_no_unfinished_upload(
    tmp_path, tmp_path_factory, s3_server
):
    kills = Kills(soak_folder("s3-kills", tmp_path_factory) / "kills.json")
    scene = Scene(tmp_path, s3_server, SIZE_BYTES)
    for point in scene.points():
        if f"before {point}" not in kills.done:
            kills.record(f"before {point}", scene.killed_before(point))
    longest_s, moment = LONGEST_S, sum(kill.startswith("moment") for kill in kills.done) + 1
    while len(kills.done) < KILLS:
        rng = random.Random(f"{SEED} {moment} {longest_s}")
        # Every other one is killed once more, on what it left.
        left = scene.killed_at(rng.uniform(0, longest_s), finish=moment % 2 == 0 or len(kills.done) == KILLS - 1)
        if left is None:
            longest_s *= 0.9  # too late: this machine is quicker than was thought
        else:
            kills.record(f"moment {moment:2}", left)
            moment += 1
    after_a_byte = sum(" 0.0 MB" not in left for left in kills.done.values())
    print(f"{after_a_byte} of {len(kills.done)} kills after the first uploaded byte")  # noqa: T201 - a soak's table
    assert after_a_byte >= KILLS / 2
    assert scene.unfinished() == []
