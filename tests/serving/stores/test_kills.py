"""A publisher that is killed, wherever it is killed, never leaves a partial version, and the next one mends all."""

import random
import shutil
from pathlib import Path

import pytest

from serving.servable.verification import verify_published
from serving.stores import open_store
from tests.serving.stores.bundles import bundle_of, make_bundle, names_in, publish_command
from tests.serving.stores.kill_points import kill_before_each_call, run_until_call, run_until_moment


def parses_as_version(name: str) -> bool:
    try:
        int(name)
    except ValueError:
        return False
    return True


def assert_nothing_partial(base: Path, digest: str) -> None:
    for directory in base.glob("digits/*"):
        if parses_as_version(directory.name):
            verify_published(directory, digest)


def assert_publishing_finishes(base: Path, source: Path, digest: str) -> None:
    open_store(str(base)).publish("digits", 1, bundle_of(source, digest))
    verify_published(base / "digits/1", digest)
    assert names_in(base) == {"digits"}
    assert names_in(base / "digits") == {"1"}


@pytest.fixture
def base(tmp_path):
    (tmp_path / "base").mkdir()
    return tmp_path / "base"


@pytest.fixture
def source(tmp_path):
    return tmp_path / "source"


def test_killed_before_any_call_that_changes_the_disk_it_leaves_no_partial_version_and_the_next_finishes(base, source):
    """Every run finds, and removes, what two killed before it left; so kills while cleaning up are among them."""
    digest = make_bundle(source)
    command = publish_command(source, base, "digits", 1, digest)
    leftovers = source.parent / "leftovers"
    for point in (4, 25):
        assert run_until_call(command, base, point)
        shutil.copytree(base, leftovers, dirs_exist_ok=True)
        shutil.rmtree(base / "digits")
    assert len(names_in(leftovers / "digits")) == 2

    shutil.copytree(leftovers, base, dirs_exist_ok=True)
    points = 0
    for points in kill_before_each_call(command, base):  # noqa: B007
        assert_nothing_partial(base, digest)
        assert_publishing_finishes(base, source, digest)
        shutil.rmtree(base)
        shutil.copytree(leftovers, base)
    assert points > 40
    assert_publishing_finishes(base, source, digest)


def test_killed_at_random_moments_it_leaves_no_partial_version(base, source):
    kill_at_random_moments(base, source, size_bytes=20_000_000, kills=5)


@pytest.mark.soak
def test_killed_twenty_times_while_it_publishes_half_a_gigabyte_it_leaves_no_partial_version(base, source):
    kill_at_random_moments(base, source, size_bytes=500_000_000, kills=20)


def kill_at_random_moments(base: Path, source: Path, size_bytes: int, kills: int) -> None:
    digest = make_bundle(source, size_bytes)
    command = publish_command(source, base, "digits", 1, digest)
    rng = random.Random(size_bytes)

    def staged() -> bool:
        return any(path.stat().st_size for path in base.glob("digits/.staging-*/fetched/servable/*/*"))

    longest_s = 2 * size_bytes / 1e9
    killed = 0
    while killed < kills:
        was_killed = run_until_moment(command, staged, longest_s, rng)
        assert_nothing_partial(base, digest)
        if was_killed:
            killed += 1
        else:
            longest_s *= 0.8  # this machine is quicker than was thought
        if killed % 2 or not was_killed:  # else the next one finds what this one left
            assert_publishing_finishes(base, source, digest)
            shutil.rmtree(base / "digits")
    assert_publishing_finishes(base, source, digest)
