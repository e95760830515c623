"""What people do while a pass or a rollback is under way counts, and what is gone harms nobody else."""

import shutil
import threading
from contextlib import contextmanager
from dataclasses import replace

import pytest

from pipeline.reconcile.reconcile import reconcile_once
from pipeline.reconcile.settle import pass_alone
from registry.lease import lease
from tests.pipeline.lifecycle_world import wait_until
from tests.pipeline.reconcile_world import NAME, OTHER, ReconcileWorld, follower


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    world = ReconcileWorld(tmp_path_factory.mktemp("meanwhile"))
    for weights in ({}, {"weights": OTHER}, {"weights": -OTHER}, {"weights": 2 * OTHER}):
        world.version(NAME, **weights)
    with follower(world) as server:
        yield world, server


@pytest.fixture
def world(made):
    """Version 1 is live, and nothing else is wanted."""
    made[0].only_live(1)
    return made[0]


class Asked:
    """What serves, but for the moment at which a version has answered: then `do` is called with it."""

    def __init__(self, inner, do):
        self._inner, self._do = inner, do

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def verify(self, version):
        verified = self._inner.verify(version)
        self._do(version)
        return verified


@contextmanager
def interrupted(world, do, **settings):
    with world.scene(**settings) as scene:
        yield replace(scene, serving=Asked(scene.serving, do))


class KilledError(BaseException):
    pass


def test_a_click_back_counts_though_the_pass_before_was_killed_once_it_had_written_the_ledger(world):
    def killed():
        raise KilledError

    world.champion(2)
    with world.scene() as scene, pytest.raises(KilledError):
        reconcile_once(replace(scene, clock=killed), (NAME,))  # the clock is asked for the tags, after the ledger
    assert world.ledger.last(NAME, "champion").to_version == 2
    assert world.tags(2).get("slipway.deploy") != "live"
    world.champion(1)
    assert world.once().exit_code == 0
    world.assert_live(1)


def test_what_a_killed_pass_left_is_finished_where_nobody_clicked(world):
    def killed():
        raise KilledError

    world.champion(2)
    with world.scene() as scene, pytest.raises(KilledError):
        reconcile_once(replace(scene, clock=killed), (NAME,))
    assert world.once().exit_code == 0
    world.assert_live(2)
    assert world.tags(2)["slipway.deploy"] == "live"
    assert world.once().exit_code == 0


def test_a_challenger_that_is_replaced_while_it_is_asked_does_not_come_back(world):
    world.registry.set_alias(NAME, "challenger", 2)

    def correct(version):
        if version.version == 2:
            world.registry.set_alias(NAME, "challenger", 3)

    with interrupted(world, correct) as scene:
        assert reconcile_once(scene, (NAME,)).exit_code == 0
    assert world.registry.aliases(NAME) == {"champion": 1, "challenger": 3}
    assert world.listing()[0].labels["canary"] == 3
    assert 2 not in {entry.to_version for entry in world.ledger.entries(NAME) if entry.alias == "challenger"}


def test_a_model_whose_alias_is_given_back_while_another_is_at_work_is_not_retired(world):
    world.version("other")
    world.registry.set_alias("other", "champion", 1)
    world.champion(2)
    with world.scene() as scene:
        assert reconcile_once(scene, ("other", NAME)).exit_code == 0
        world.registry.tag_model("other", {"slipway.serving": "true"})
    world.registry.delete_alias("other", "champion")
    world.champion(3)
    with interrupted(world, lambda _version: world.registry.set_alias("other", "champion", 1), allow_retire=True) as at:
        assert reconcile_once(at).exit_code == 0
    assert world.registry.aliases("other") == {"champion": 1}
    with world.scene() as scene:
        assert reconcile_once(scene, ("other",)).quiet
    world.registry.delete_alias("other", "champion")


def test_a_version_that_was_deleted_is_retired_like_any_other(world):
    gone = world.version(NAME)
    world.registry.set_alias(NAME, "challenger", gone.version)
    assert world.once().exit_code == 0
    world.mlflow.delete_model_version(NAME, str(gone.version))
    assert world.once().exit_code == 0
    assert dict(world.listing()[0].labels) == {"stable": 1}
    assert world.once().quiet


def test_what_is_live_is_never_refused_in_favour_of_itself(world):
    before = len(world.ledger.entries(NAME))
    shutil.rmtree(world.base / NAME / "1")
    file = world.servable(1, NAME) / "labels.json"
    data = file.read_bytes()
    try:
        file.write_bytes(data.replace(b"a", b"b", 1))
        report = world.once()
    finally:
        file.write_bytes(data)
    assert report.exit_code == 1
    assert "version 1 is live, and publish version 1 failed: " in report.of(NAME).failed
    assert "slipway.deploy" not in world.tags(1)
    assert len(world.ledger.entries(NAME)) == before
    assert world.once().exit_code == 0


def test_bytes_that_are_gone_or_not_its_own_refuse_a_version(world):
    root = world.registry.local_directory(world.registry.version(NAME, 2))
    shutil.rmtree(world.base / NAME / "2", ignore_errors=True)
    world.champion(2)
    away = (root / "servable").rename(root.with_name(f"{root.name}-away"))
    try:
        assert world.once().exit_code == 3
    finally:
        away.rename(root / "servable")
    manifest = world.base / NAME / "2" / "assets.extra/slipway/manifest.json"
    manifest.parent.mkdir(parents=True)
    manifest.write_text("{}")
    world.champion(2)
    assert world.once().exit_code == 3
    assert "holds another servable" in world.tags(2)["slipway.deploy_reason"]
    shutil.rmtree(world.base / NAME / "2")


def test_a_base_path_that_cannot_be_written_refuses_nobody(world):
    world.champion(2)
    place = world.base / NAME
    kept = place.rename(world.base.with_name("kept"))
    place.write_text("no directory")
    try:
        report = world.once()
    finally:
        place.unlink()
        kept.rename(place)
    assert (report.exit_code, report.of(NAME).refused) == (1, {})
    assert world.registry.aliases(NAME) == {"champion": 2}
    assert world.once().exit_code == 0


def test_a_pass_beside_it_takes_nothing_from_a_rollback_that_loads(world, monkeypatch):
    for version in (2, 3):
        world.champion(version)
        assert world.once().exit_code == 0
    assert 1 not in world.listing()[0].versions
    stop, passes = threading.Event(), []

    def watch():
        with world.scene() as scene:
            while not stop.is_set():
                passes.append(pass_alone(scene, (NAME,), wait_s=60))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        wait_until(lambda: passes, "no pass")
        done = world.call(monkeypatch, "rollback", NAME, "--to", 1, *world.words()[2:], "--load-timeout-s", 30)
    finally:
        stop.set()
        watcher.join()
    assert done.code == 0, done.err
    world.assert_live(1)


def test_a_rollback_leaves_the_rest_to_a_pass_that_is_under_way(world, monkeypatch):
    world.champion(2)
    assert world.once().exit_code == 0
    with lease(world.ledger, "reconcile", 60):
        done = world.call(monkeypatch, "rollback", *world.words())
    assert done.code == 0, done.err
    assert "somebody else's pass is under way, and does the rest" in done.out
    assert world.once().exit_code == 0
    world.assert_live(1)


class Waits:
    """What serves, but for the moment in which a version is waited for: then `look` is called."""

    def __init__(self, inner, look):
        self._inner, self._look = inner, look

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def await_loaded(self, version, waiting):
        self._look(waiting)
        self._inner.await_loaded(version, waiting)


def test_whoever_waits_for_a_version_to_load_is_asked_each_time_whether_it_still_does_the_passes(world):
    asked = []

    def look(waiting):
        before = len(asked)
        waiting.still_wanted()
        waiting.still_wanted()
        assert len(asked) == before + 2

    world.champion(3)
    with world.scene() as scene:
        watching = replace(scene, serving=Waits(scene.serving, look), check=lambda: asked.append(None))
        assert pass_alone(watching, (NAME,)).exit_code == 0
    assert asked
    world.assert_live(3)
