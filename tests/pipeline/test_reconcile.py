"""What is promoted in MLflow goes live, or is refused and says why; each pass finishes what is left."""

import json
import shutil

import pytest

from pipeline.reconcile.reconcile import reconcile_once
from tests.pipeline.lifecycle_world import free_ports
from tests.pipeline.reconcile_world import NAME, OTHER, ReconcileWorld, follower


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Versions 1, 2, 3: good; 4: its variant answers otherwise than was recorded."""
    world = ReconcileWorld(tmp_path_factory.mktemp("reconcile"))
    for weights in (None, OTHER, -OTHER):
        world.version(NAME, **({} if weights is None else {"weights": weights}))
    world.version(NAME, spoiled=("onnx-fp32",))
    with follower(world) as server, follower(world, "models.config") as real:
        yield world, server, real


@pytest.fixture
def world(made):
    """Version 1 is live everywhere."""
    made[0].only_live(1)
    return made[0]


@pytest.fixture
def servers(made):
    return made[1:]


def test_a_moved_alias_goes_live_everywhere(world, servers):
    world.champion(2)
    report = world.once()
    assert (report.exit_code, report.of(NAME).left) == (0, []), report.text()
    assert [each.answers_from() for each in servers] == [2, 2]
    world.assert_live(2)
    entry = world.ledger.entries(NAME)[-1]
    assert (entry.action, entry.from_version, entry.to_version) == ("promote", 1, 2)
    assert (entry.actor, entry.origin) == ("not recorded by MLflow", "ui")
    assert world.tags(2)["slipway.deploy"] == "live"
    assert world.tags(1)["slipway.deploy"] == "retired"
    assert world.registry.version(NAME, 2).description.startswith("Slipway: live")


def test_a_second_pass_does_nothing_and_writes_nothing(world):
    world.champion(2)
    world.once()
    before = world.state(NAME)
    report = world.once()
    assert (report.exit_code, report.of(NAME).done, report.quiet) == (0, [], True)
    assert world.state(NAME) == before


def test_a_moved_stage_goes_live_and_the_alias_follows(world, servers):
    world.registry.set_stage(NAME, 2, "Production")
    report = world.once()
    assert report.exit_code == 0, report.text()
    world.assert_live(2)
    assert "stage Production was moved" in world.ledger.entries(NAME)[-1].reason


def test_golden_answers_that_differ_are_refused_and_the_version_says_so(world, servers):
    world.champion(4)
    report = world.once()
    assert report.exit_code == 3
    assert [each.answers_from() for each in servers] == [1, 1]
    assert world.everywhere()["alias"] == 1
    assert world.everywhere()["labels"] == 1
    tags = world.tags(4)
    assert tags["slipway.deploy"] == "refused"
    assert "golden requests" in tags["slipway.deploy_reason"]
    assert len(tags["slipway.deploy_reason"]) <= 500
    assert world.ledger.entries(NAME)[-1].action == "refuse"
    labels, models = world.listing()
    assert 4 not in labels.versions | models.versions | models.candidates
    assert world.once().quiet


def test_a_refused_version_is_not_tried_again_until_its_alias_is_moved_anew(world):
    world.champion(4)
    assert world.once(on_refusal="leave").exit_code == 3
    assert world.registry.aliases(NAME)["champion"] == 4
    refusals = len(world.ledger.entries(NAME))
    for _ in range(2):
        again = world.once(on_refusal="leave")
        assert again.exit_code == 0
        assert again.of(NAME).done == []
        assert "was refused and its alias has not moved since: version 1 stays live" in again.text()
    assert len(world.ledger.entries(NAME)) == refusals
    world.champion(1)
    world.once(on_refusal="leave")
    world.champion(4)
    assert world.once(on_refusal="leave").exit_code == 3


def test_damaged_bytes_are_refused_by_the_files_name(world, servers):
    file = world.servable(2, NAME) / "labels.json"
    data = file.read_bytes()
    shutil.rmtree(world.base / NAME / "2", ignore_errors=True)
    world.champion(2)
    try:
        file.write_bytes(data.replace(b"a", b"b", 1))
        report = world.once()
    finally:
        file.write_bytes(data)
    assert report.exit_code == 3
    assert "'labels.json'" in world.tags(2)["slipway.deploy_reason"]
    assert servers[0].answers_from() == 1
    assert list((world.base / NAME).glob(".staging*")) == []


def test_a_version_without_a_servable_is_refused(world):
    from registry.client import NewVersion

    source = world.registry.version(NAME, 1)
    bare = world.registry.create_version(NewVersion(NAME, source.source, source.run_id, {}, ""))
    world.champion(bare.version)
    assert world.once().exit_code == 3
    assert "no tag slipway.manifest_digest" in world.tags(bare.version)["slipway.deploy_reason"]
    assert world.everywhere()["alias"] == 1


def test_the_challenger_is_loaded_as_the_canary_and_what_is_live_stays(world, servers):
    world.registry.set_alias(NAME, "challenger", 3)
    report = world.once()
    assert report.exit_code == 0, report.text()
    labels, models = world.listing()
    assert dict(labels.labels) == {"stable": 1, "canary": 3}
    assert models.candidates == {3}
    assert [each.answers_from() for each in servers] == [1, 1]
    assert world.tags(3)["slipway.deploy"] == "canary"
    assert world.registry.version(NAME, 3).stage == "Staging"
    world.champion(3)
    assert world.once().exit_code == 0
    world.assert_live(3)
    assert "challenger" not in world.registry.aliases(NAME)
    assert dict(world.listing()[0].labels) == {"stable": 3}


def test_a_refused_challenger_loses_its_alias(world):
    world.registry.set_alias(NAME, "challenger", 4)
    assert world.once().exit_code == 3
    assert world.registry.aliases(NAME) == {"champion": 1}
    assert world.tags(4)["slipway.deploy"] == "refused"
    assert world.once().quiet


def test_a_challenger_whose_alias_is_taken_away_is_retired(world):
    world.registry.set_alias(NAME, "challenger", 3)
    world.once()
    world.registry.delete_alias(NAME, "challenger")
    world.registry.set_stage(NAME, 3, "Archived")
    assert world.once().exit_code == 0
    labels, models = world.listing()
    assert (dict(labels.labels), models.candidates) == ({"stable": 1}, frozenset())
    assert world.tags(3)["slipway.deploy"] == "retired"


def test_only_champion_previous_and_challenger_stay_loaded(world):
    for version in (2, 3):
        world.champion(version)
        assert world.once().exit_code == 0
    labels, models = world.listing()
    assert labels.versions == {3, 2}
    assert (models.versions, models.candidates) == ({3}, frozenset())


def test_a_deleted_alias_retires_the_model_only_where_that_is_allowed(world, servers):
    world.registry.delete_alias(NAME, "champion")
    world.registry.set_stage(NAME, 1, "Archived")
    kept = world.once()
    assert "version 1 stays live, since reconcile.allow_retire is false" in kept.text()
    assert servers[0].answers_from() == 1
    gone = world.once(allow_retire=True)
    assert gone.exit_code == 0, gone.text()
    assert world.listing()[0].versions == frozenset()
    assert world.tags(1)["slipway.deploy"] == "retired"
    last = world.ledger.entries(NAME)[-1]
    assert (last.action, last.from_version, last.to_version) == ("retire", 1, None)
    assert world.once(allow_retire=True).quiet


def test_a_dry_run_prints_the_plan_and_changes_nothing(world, monkeypatch):
    world.champion(2)
    before = world.state(NAME)
    done = world.call(monkeypatch, "reconcile", "--dry-run", *world.words())
    assert "digits: ask version 2 its golden requests" in done.out
    assert world.state(NAME) == before
    done = world.call(monkeypatch, "reconcile", "--once", "--json", *world.words())
    assert done.code == 0, done.err
    assert "record that version 2 is live" in json.loads(done.out)["models"][0]["done"]
    world.assert_live(2)


def test_a_server_that_refuses_connections_is_left_out(world, servers):
    world.champion(2)
    report = world.once(servers=f"{servers[0].address},grpc://127.0.0.1:{free_ports(1)[0]}")
    assert report.exit_code == 0
    assert "nothing listens there" in report.text()
    world.assert_live(2)


def test_a_server_that_does_not_answer_holds_everything(world, servers):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        world.champion(2)
        report = world.once(servers=f"{servers[0].address},grpc://127.0.0.1:{silent.getsockname()[1]}")
    assert report.exit_code == 1
    assert "did not answer within" in report.text()
    assert servers[0].answers_from() == 1
    assert world.once().exit_code == 0
    world.assert_live(2)


def test_a_model_that_fails_does_not_keep_others_from_theirs(world):
    world.version("broken")
    world.registry.set_alias("broken", "champion", 1)
    root = world.registry.local_directory(world.registry.version("broken", 1))
    moved = root.rename(root.with_name("away"))
    world.champion(2)
    try:
        with world.scene() as scene:
            report = reconcile_once(scene, ("broken", NAME))
    finally:
        moved.rename(root)
    assert report.of("broken").failed or report.of("broken").refused
    world.assert_live(2)
