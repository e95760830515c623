"""Whole passes of reconcile over a cluster whose API is spoken over HTTP: what is promoted goes live, or is undone."""

import json
from collections import Counter

import pytest

from pipeline.reconcile.reconcile import reconcile_once
from serving.kubernetes.names import object_name
from tests.kubernetes_server.cluster_world import BASE, WRONG, ClusterWorld
from tests.kubernetes_server.rollouts import waiting_pod
from tests.kubernetes_server.server import KubernetesServer
from tests.pipeline.conftest import ended_well
from tests.pipeline.lifecycle_world import background, wait_until
from tests.pipeline.reconcile_world import NAME

pytestmark = pytest.mark.integration

OF_A_VERSION = ("deployments", "configmaps", "services")


@pytest.fixture(scope="module")
def made(tmp_path_factory, s3_process):
    """A world, and where the model server is that stands for its Pods."""
    world = ClusterWorld(tmp_path_factory.mktemp("cluster"))
    world.make_versions()
    with world.pods() as address:
        yield world, address


@pytest.fixture
def server():
    with KubernetesServer().running() as server:
        yield server


@pytest.fixture
def world(made, server, s3_server, tmp_path, monkeypatch):
    """Version 1 is live in a new cluster; what was published before stays."""
    world, server.backend = made
    monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig(tmp_path)))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", world.uri)
    s3_server.client.create_bucket(Bucket=BASE.split("/")[2])
    world.only_live(1)
    return world


def versions_there(server):
    """The versions that have objects in the cluster; each has all of its own."""
    found = {resource: {name for name in server.there(resource) if "-v" in name} for resource in OF_A_VERSION}
    assert len({frozenset(names) for names in found.values()}) == 1, found
    return {int(name.rpartition("-v")[2]) for name in found["deployments"]}


def test_a_moved_alias_goes_live_in_the_cluster_and_nothing_is_applied_twice(world, server):
    assert server.live(NAME) == 1
    world.champion(2)
    report = world.once()
    assert (report.exit_code, report.of(NAME).left) == (0, []), report.text()
    assert report.of(NAME).verified[2].golden.requests == 64
    assert (server.live(NAME), versions_there(server)) == (2, {1, 2})
    world.assert_live(2)
    assert ("create", "services/proxy", "digits-v2") in server.requests
    counted = Counter(server.writes)
    turned = {("patch", kind, NAME) for kind in ("services", "horizontalpodautoscalers", "poddisruptionbudgets")}
    assert {write: count for write, count in counted.items() if count != 1} == dict.fromkeys(turned, 2)
    before = list(server.writes)
    assert world.once().quiet
    assert server.writes == before


def test_the_challenger_comes_up_without_traffic_and_goes_when_it_is_withdrawn(world, server):
    world.registry.set_alias(NAME, "challenger", 3)
    assert world.once().exit_code == 0
    assert (server.live(NAME), versions_there(server)) == (1, {1, 3})
    assert world.tags(3)["slipway.deploy"] == "canary"
    world.registry.delete_alias(NAME, "challenger")
    assert world.once().exit_code == 0
    assert (server.live(NAME), versions_there(server)) == (1, {1})


def test_a_version_whose_pods_answer_otherwise_is_refused_and_undone(world, server):
    world.champion(WRONG)
    turns = server.writes.count(("patch", "services", NAME))
    report = world.once()
    assert report.exit_code == 3, report.text()
    assert "answers otherwise" in world.tags(WRONG)["slipway.deploy_reason"]
    assert world.tags(WRONG)["slipway.deploy"] == "refused"
    assert (server.live(NAME), versions_there(server)) == (1, {1})
    assert server.writes.count(("patch", "services", NAME)) == turns
    world.assert_live(1)
    assert world.once().quiet


def test_a_rollout_that_never_gets_ready_is_refused_with_the_pods_reason_and_undone(world, server):
    server.rollouts.never["digits-v2"] = waiting_pod("ImagePullBackOff", "Back-off pulling image")
    world.champion(2)
    assert world.once().exit_code == 3
    assert "ImagePullBackOff (Back-off pulling image)" in world.tags(2)["slipway.deploy_reason"]
    assert (server.live(NAME), versions_there(server)) == (1, {1})
    world.assert_live(1)


def test_a_forbidden_verb_leaves_all_as_it_was_and_the_next_pass_goes_on(world, server):
    server.forbidden.add(("patch", "deployments"))
    world.champion(2)
    report = world.once()
    assert report.exit_code == 1
    assert "forbids patch of deployments in namespace 'slipway'" in report.of(NAME).failed
    assert server.live(NAME) == 1
    assert "slipway.deploy" not in world.tags(2), "it says nothing of the version"
    server.forbidden.clear()
    assert world.once().exit_code == 0
    assert server.live(NAME) == 2


def test_a_rollback_by_command_is_followed_by_the_next_pass(world, server, monkeypatch):
    world.champion(2)
    assert world.once().exit_code == 0
    # A server that has version 1 and answers from it: the command asks it, and knows nothing of the cluster.
    done = world.call(monkeypatch, "rollback", *world.words(servers=world.grpc), "--reason", "a try")
    assert done.code == 0, done.err
    assert server.live(NAME) == 2
    server.writes.clear()
    report = world.once()
    assert (report.exit_code, server.live(NAME)) == (0, 1), report.text()
    assert not [write for write in server.writes if write[:2] == ("patch", "deployments")], "its Pods were there"


def test_pods_that_follow_another_base_path_are_not_taken_over(world, server, s3_server, monkeypatch):
    s3_server.client.create_bucket(Bucket="another-bucket")
    before = list(server.writes)
    command = ("reconcile", "--target", "kubernetes", "--json", *world.words("s3://another-bucket/models"))
    done = world.call(monkeypatch, *command)
    assert done.code == 1
    (model,) = json.loads(done.out)["models"]
    assert f"follows base path {BASE} at " in model["failed"]
    assert server.writes == before
    assert server.live(NAME) == 1


def test_a_dry_run_says_what_would_be_done_and_applies_nothing(world, server, monkeypatch):
    world.champion(2)
    before = list(server.writes)
    done = world.call(monkeypatch, "reconcile", "--target", "kubernetes", "--dry-run", *world.words())
    assert (done.code, server.writes) == (1, before), done.err
    assert "wait until version 2 is AVAILABLE" in done.out


def test_a_watcher_follows_the_registry_and_leaves_the_pods_when_it_ends(world, server, tmp_path):
    log = tmp_path / "watch.log"
    command = ("reconcile", "--watch", "--interval", "1", "--target", "kubernetes", *world.words())
    with background(world, *command, log=log) as watcher:
        wait_until(lambda: "watching" in log.read_text(), log.read_text, 60)
        world.champion(2)
        wait_until(lambda: world.tags(2).get("slipway.deploy") == "live", log.read_text, 60)
        watcher.terminate()
        assert watcher.wait(30) == 0
    assert (server.live(NAME), versions_there(server)) == (2, {1, 2})


def test_a_pass_that_is_killed_before_a_write_is_finished_by_the_next_one(world, server):
    """Of ten writes: before the Deployment, its Service, that it answered, the model's Service, and amid deletions."""
    # Versions 3 and 1 are there; 2 comes up anew, and 1 goes; in the end 1 has come again, and 3 gone.
    world.champion(3)
    assert world.once().exit_code == 0
    server.writes.clear()
    ended_well(world.finish(world.start(world.folder, 2, 3, 4, 5, 9, module="tests.kubernetes_server.kills"), 280))
    assert versions_there(server) == {1, 2}
    counted = Counter(server.writes)
    for resource in OF_A_VERSION:
        for version, before, after in ((1, 1, 1), (2, 0, 1), (3, 1, 0)):
            name = f"digits-v{version}"
            applied, gone = counted["patch", resource, name], counted["delete", resource, name]
            assert before + applied - gone == after, f"{resource} {name} was applied twice: {counted}"


def test_a_model_whose_name_is_no_objects_name_gets_one(world):
    assert object_name("Digits_v2") != object_name("digits-v2")
    with world.scene() as scene:
        assert reconcile_once(scene, (NAME,), dry_run=True).of(NAME).failed == ""
