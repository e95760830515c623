"""A publication to S3 that is killed leaves no version that the sync takes for one; the next one finishes it."""

import pytest

from tests.serving.stores.s3_kills import KINDS, Scene

SIZE_BYTES = 24_000_000  # its weights go in two parts


@pytest.mark.integration
def test_killed_before_a_request_of_each_kind_and_at_two_moments(tmp_path, s3_server):
    """The short form of tests/soak/test_s3_kills.py."""
    scene = Scene(tmp_path, s3_server, SIZE_BYTES)
    points = scene.points()
    for kind in KINDS:
        scene.killed_before([point for point in points if point.startswith(kind)][-1])
    for after_s in (0.02, 0.1):
        scene.killed_at(after_s, finish=True)
