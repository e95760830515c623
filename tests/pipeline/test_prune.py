"""What nothing wants any more goes from the base path; what something wants stays, whoever named it."""

import json
import socket

import pytest

from pipeline.reconcile.settle import KEY
from registry.lease import renewed_lease
from serving.model_config import Wanted, labels_config
from serving.stores import open_store
from serving.stores.local import LocalStore
from serving.stores.s3_listing import ListedBucket
from tests.pipeline.reconcile_world import NAME, ReconcileWorld
from tests.serving.stores.bundles import bundle_of
from tests.serving.stores.test_leftovers import everything

VERSIONS = range(1, 7)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Six versions; 3 is champion, 2 was before it, 4 is the challenger."""
    world = ReconcileWorld(tmp_path_factory.mktemp("prune"))
    versions = [world.version(NAME) for _ in VERSIONS]
    world.made_live(versions[1])
    world.made_live(versions[2], before=2)
    return world


@pytest.fixture
def world(made, monkeypatch):
    """All six are published, and no config file says anything."""
    made.registry.set_alias(NAME, "challenger", 4)
    for file in ("labels.config", "models.config"):
        (made.base / file).unlink(missing_ok=True)
    fill(made, str(made.base))
    return made


def fill(world, base, versions=VERSIONS):
    store = open_store(base)
    for version in versions:
        source = world.servable(version, NAME)
        digest = world.registry.version(NAME, version).tags["slipway.manifest_digest"]
        store.publish(NAME, version, bundle_of(source, digest))
    return store


def prune(world, patch, *words, base=None):
    return world.call(patch, "prune", NAME, "--servers", "none", "--base", base or world.base, *words)


def published(world):
    return open_store(str(world.base)).versions(NAME)


def test_champion_the_one_before_challenger_and_the_highest_other_stay(world, monkeypatch):
    done = prune(world, monkeypatch, "--json")
    assert done.code == 0, done.err
    assert published(world) == (2, 3, 4, 6)
    document = json.loads(done.out)
    (model,) = document["models"]
    assert model["kept"] == {"2": "champion before", "3": "champion", "4": "challenger", "6": "--keep 1"}
    assert [each["version"] for each in model["removed"]] == [1, 5]
    assert document["freed_bytes"] == sum(each["size_bytes"] for each in model["removed"]) > 1000
    for version in published(world):
        open_store(str(world.base)).verify(NAME, version, world.tags(version)["slipway.manifest_digest"])


@pytest.mark.parametrize(("keep", "there"), [("0", (2, 3, 4)), ("2", (2, 3, 4, 5, 6)), ("9", (1, 2, 3, 4, 5, 6))])
def test_so_many_others_stay_as_are_asked_for(world, monkeypatch, keep, there):
    assert prune(world, monkeypatch, "--keep", keep).code == 0
    assert published(world) == there


def test_a_second_call_removes_nothing(world, monkeypatch):
    prune(world, monkeypatch)
    done = prune(world, monkeypatch)
    assert done.out == (f"{NAME}: freed 0.0 MB; kept 2 (champion before), 3 (champion), 4 (challenger), 6 (--keep 1)\n")


def test_a_dry_run_says_what_would_go_and_changes_nothing(world, monkeypatch):
    before = world.state(NAME)
    done = prune(world, monkeypatch, "--dry-run", "--keep", "0")
    lines = done.out.splitlines()
    assert lines[0] == "a plan; nothing is changed"
    assert [line.partition(",")[0] for line in lines[1:-1]] == [f"{NAME}: would remove version {n}" for n in (1, 5, 6)]
    assert lines[-1].startswith(f"{NAME}: would free ")
    assert world.state(NAME) == before


def test_what_a_config_file_has_servers_load_stays_under_whatever_name_and_policy(world, monkeypatch):
    entry = 'config {{ name: "{0}" base_path: "{1}" model_platform: "tensorflow" model_version_policy {{ {2} }} }}'
    path = world.base / NAME
    deployment = entry.format("trial", path, "specific { versions: 1 }")
    highest = entry.format("elsewhere", path, "latest { num_versions: 1 }")
    (world.base / "models.config").write_text(f"model_config_list {{ {deployment} {highest} }}")
    assert prune(world, monkeypatch, "--keep", "0").code == 0
    assert published(world) == (1, 2, 3, 4, 6)
    (world.base / "models.config").write_text(f"model_config_list {{ {entry.format('x', path, 'all {}')} }}")
    prune(world, monkeypatch, "--keep", "0")
    assert published(world) == (1, 2, 3, 4, 6)


def test_what_is_live_and_what_was_before_it_stay_while_another_version_is_to_follow(world, monkeypatch):
    """The alias is on 5 already, and no pass has been: if 5 is refused, 3 stays, and a rollback goes to 2."""
    present = labels_config(None, NAME, str(world.base / NAME), Wanted(3, 2))
    (world.base / "labels.config").write_bytes(present)
    world.champion(5)
    try:
        assert prune(world, monkeypatch, "--keep", "0").code == 0
    finally:
        world.champion(3)
    assert published(world) == (2, 3, 4, 5)


def test_a_version_that_comes_to_be_wanted_meanwhile_stays(world, monkeypatch):
    remove = LocalStore.remove

    def moved_then(store, name, version):
        world.registry.set_alias(NAME, "challenger", 5)
        remove(store, name, version)

    monkeypatch.setattr(LocalStore, "remove", moved_then)
    done = prune(world, monkeypatch, "--keep", "0")
    assert f"{NAME}: left version 5: it is wanted now (challenger)" in done.out
    assert 5 in published(world)
    assert 1 not in published(world)


def test_what_slipway_has_not_published_is_left_and_named(world, monkeypatch):
    (world.base / NAME / "9").mkdir(exist_ok=True)
    (world.base / NAME / "9" / "saved_model.pb").touch()
    try:
        done = prune(world, monkeypatch, "--keep", "0")
        assert "left version 9: it is none that Slipway published" in done.out
        assert 9 in published(world)
    finally:
        (world.base / NAME / "9" / "saved_model.pb").unlink()
        (world.base / NAME / "9").rmdir()


def test_while_somebody_else_makes_a_pass_nothing_is_removed(world, monkeypatch):
    with renewed_lease(world.ledger, KEY, 30):
        done = prune(world, monkeypatch, "--lease-s", "2")
    assert (done.code, published(world)) == (1, tuple(VERSIONS))
    assert "lease 'reconcile'" in done.error


@pytest.mark.integration
def test_while_a_server_does_not_answer_nothing_is_removed(world, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        done = prune(world, monkeypatch, "--servers", f"grpc://127.0.0.1:{silent.getsockname()[1]}")
    assert (done.code, published(world)) == (1, tuple(VERSIONS))
    assert "did not answer within" in done.error


@pytest.mark.parametrize("words", [("--keep", "-1"), ("--given-up-s", "-1"), ("--given-up-s", "nan")])
def test_a_number_that_makes_no_sense_is_refused(world, monkeypatch, words):
    done = prune(world, monkeypatch, *words)
    assert done.code == 2
    assert f"{words[0]} is" in done.error
    assert published(world) == tuple(VERSIONS)


def test_without_a_name_every_served_model_is_pruned(world, monkeypatch):
    world.registry.tag_model(NAME, {"slipway.serving": "true"})
    done = world.call(monkeypatch, "prune", "--servers", "none", "--base", world.base)
    assert done.code == 0, done.err
    assert published(world) == (2, 3, 4, 6)


class Death:
    """Kills this process's work before its request number `point` that changes the bucket."""

    def __init__(self, patch, point):
        self.left = point
        for name in ("put", "delete"):
            patch.setattr(ListedBucket, name, self._counted(getattr(ListedBucket, name)))

    def _counted(self, work):
        def counted(*arguments):
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
            return work(*arguments)

        return counted


@pytest.mark.integration
def test_killed_before_any_of_its_requests_the_next_call_finishes(world, monkeypatch, tmp_path, s3_server):
    base, digest = s3_server.bucket_for(tmp_path), world.tags(1)["slipway.manifest_digest"]
    point, killed = 1, True
    while killed:
        store = fill(world, base, (1, 3))
        with monkeypatch.context() as patch:
            Death(patch, point)
            killed = prune(world, monkeypatch, "--keep", "0", base=base).code == 130
        if 1 in store.versions(NAME):
            store.verify(NAME, 1, digest)
        done = prune(world, monkeypatch, "--keep", "0", base=base)
        assert done.code == 0, done.err
        assert [key for key in everything(s3_server, base) if f"/{NAME}/3/" not in key] == []
        assert store.versions(NAME) == (3,)
        point += 1
    assert point > 6


@pytest.mark.integration
def test_an_unfinished_publication_goes_once_nobody_can_be_at_it(world, monkeypatch, tmp_path, s3_server):
    base = s3_server.bucket_for(tmp_path)
    store = fill(world, base, (3,))
    for version in (1, 4):  # 4 is wanted: the challenger
        with monkeypatch.context() as patch:
            Death(patch, 5)
            with pytest.raises(KeyboardInterrupt):
                fill(world, base, (version,))
    young = prune(world, monkeypatch, base=base)
    assert "left what an unfinished publication left of version 1: somebody may be at it" in young.out
    assert [each.version for each in store.leftovers(NAME)] == [1, 4]
    old = prune(world, monkeypatch, "--given-up-s", "0", base=base)
    assert "removed what an unfinished publication left of version 1" in old.out
    assert "of version 4: the version is wanted, and a pass of reconcile finishes it" in old.out
    assert [each.version for each in store.leftovers(NAME)] == [4]
    assert store.versions(NAME) == (3,)
