"""SIGKILL of `export`, before each rename, replace, fsync, unlink, rmdir and mkdir that it makes in the base path."""

import re

import pytest

from tests.pipeline.conftest import ended_well
from tests.pipeline.lifecycle_world import NAME

pytestmark = pytest.mark.integration


def test_an_export_that_is_killed_leaves_nothing_partial_and_is_finished_by_the_next(world, tmp_path):
    base = tmp_path / "base"
    done = ended_well(world.finish(world.start(base, NAME, "2", module="tests.pipeline.lifecycle_kills"), 600))
    kills = int(re.search(r"(\d+) kills, never a partial version", done.out)[1])
    assert kills > 30
    assert len(re.findall(r"finished by the next run$", done.out, re.MULTILINE)) == kills + 1
    assert "absent, 1 leftover," in done.out
    assert "whole" in done.out
