"""How many processes score by default."""

import os

import pytest

from pipeline.scoring.cores import usable_cores

HERE = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("text", "cores"),
    [("max 100000", HERE), ("100000 100000", 1), ("50000 100000", 1), ("100000000 100000", HERE), ("", HERE)],
    ids=["no limit", "one core", "half a core", "a thousand cores", "unreadable"],
)
def test_no_more_than_the_container_is_given(tmp_path, text, cores):
    (tmp_path / "cpu.max").write_text(text)
    assert usable_cores(tmp_path / "cpu.max") == cores


def test_without_a_control_group_it_is_the_affinity(tmp_path):
    assert usable_cores(tmp_path / "none") == HERE
