"""A click in the MLflow UI is a deployment: live, verified, visible where it was made; or refused, and told there."""

import re
from itertools import groupby

import pytest

from tests.browser.caller import calling
from tests.browser.team_world import VARIANTS
from tests.pipeline.lifecycle_world import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]

NOBODY = "not recorded by MLflow"


@pytest.fixture
def live(ui, world):
    """Versions 1 and 2, of which a person has clicked 1 to be the champion."""
    world.register(seed=1)
    world.register(seed=2)
    ui.open_model(world.name)
    ui.move_alias(1, "champion")


def test_a_click_on_the_alias_makes_a_version_live_and_the_older_stage_menu_brings_the_first_one_back(ui, world, live):
    with world.served(watcher_beside=True) as url, calling(url, seeds={1: 1, 2: 2}) as caller:
        until_tagged(world, 1, "live")
        ui.open_model(world.name)
        ui.move_alias(2, "champion")
        until_answered_by(world, caller, 2)

        until_tagged(world, 2, "live")
        ui.open_version(world.name, 2)
        assert ui.tag("slipway.deploy") == "live"
        assert ui.tag("slipway.deploy_reason").startswith("alias champion was moved in MLflow")
        assert re.search(r"^Slipway: live since .* UTC\.", ui.text(), re.MULTILINE)
        assert "Trained from seed 2." in ui.text()
        ui.window.screenshot("live")
        assert world.registry.version(world.name, 2).stage == "Production"

        ui.use_older_ui()
        ui.open_version(world.name, 1)
        ui.move_to_stage("Production", was="Archived")
        until_answered_by(world, caller, 1)
        until_tagged(world, 1, "live")
        wait_until(lambda: world.registry.aliases(world.name) == {"champion": 1}, world.logs)
        ui.open_model(world.name)
        assert ui.stages() == {1: "Production", 2: "Archived"}
        ui.window.screenshot("live-by-stage")

    assert caller.failures == []
    assert [version for version, _ in groupby(caller.versions)] == [1, 2, 1]
    assert world.history() == [
        ("promote", None, 1, NOBODY, "ui"),
        ("promote", 1, 2, NOBODY, "ui"),
        ("promote", 2, 1, NOBODY, "ui"),
    ]
    assert world.run("verify", "--ledger").code == 0


def test_clicks_on_versions_that_fail_their_checks_are_refused_and_the_reasons_are_read_in_the_ui(ui, world, live):
    tampered = world.register(seed=3)
    world.tamper(tampered)
    world.register(seed=4, spoiled=VARIANTS)
    world.register(seed=5, broken=VARIANTS)
    reasons = {
        3: ("tampered", r"'variants/onnx-fp32/model.onnx' has sha256"),
        4: ("golden-answers-differ", r"golden"),
        5: ("does-not-load", r"cannot load it"),
    }
    with world.served(watcher_beside=False) as url, calling(url, seeds={1: 1}) as caller:
        until_tagged(world, 1, "live")
        for version, (what, reason) in reasons.items():
            ui.open_model(world.name)
            ui.move_alias(version, "champion")
            until_tagged(world, version, "refused")
            wait_until(lambda: world.registry.aliases(world.name) == {"champion": 1}, world.logs)
            ui.open_version(world.name, version)
            assert ui.tag("slipway.deploy") == "refused"
            assert re.search(reason, ui.tag("slipway.deploy_reason"))
            assert re.search(rf"^Slipway: refused since .*{reason}", ui.text(), re.MULTILINE)
            ui.window.screenshot(f"refused-{what}")
        ui.open_model(world.name)
        assert ui.aliases(1) == ["champion"]
        assert ui.description(3).startswith("Slipway: refused")
        ui.window.screenshot("refused-model")

    assert caller.failures == []
    assert set(caller.versions) == {1}
    promoted, *refused = world.history()
    assert promoted == ("promote", None, 1, NOBODY, "ui")
    assert [row[:3] for row in refused] == [("refuse", version, 1) for version in reasons]


def until_answered_by(world, caller, version):
    """Wait until the caller's last answer is the version's."""
    wait_until(lambda: caller.versions and caller.versions[-1] == version, world.logs, timeout_s=90)


def until_tagged(world, version, state):
    def tagged():
        return world.registry.version(world.name, version).tags.get("slipway.deploy") == state

    wait_until(tagged, world.logs, timeout_s=90, every_s=0.5)
