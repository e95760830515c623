"""What the UI's pages do by themselves: the ground that promotion by a click stands on."""

from contextlib import suppress

import pytest

from tests.browser.chromium import window

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("login", [{}, {"username": "admin", "password": "wrong"}])
def test_the_ui_opens_only_with_the_right_password(browser, tracking_server, login):
    from playwright.sync_api import Error

    with window(browser, **login) as opened:
        with suppress(Error):  # without a login Chromium shows no page at all, after a wrong one the server's refusal
            opened.page.goto(tracking_server.uri)
        assert opened.page.get_by_role("main").count() == 0
        assert opened.problems[0] == f"HTTP 401: GET {tracking_server.uri}/"


def test_clicks_move_the_alias_and_the_stage_as_a_person_moves_them(ui, world):
    world.register(seed=1)
    world.register(seed=2)
    world.registry.set_alias(world.name, "champion", 1)

    ui.open_model(world.name)
    assert ui.aliases(1) == ["champion"]
    ui.move_alias(2, "champion")
    assert world.registry.aliases(world.name) == {"champion": 2}
    ui.open_model(world.name)
    assert (ui.aliases(1), ui.aliases(2)) == ([], ["champion"])

    world.registry.set_tags(world.name, 2, {"slipway.deploy": "live"})
    ui.open_version(world.name, 2)
    assert ui.tag("slipway.deploy") == "live"
    assert "Trained from seed 2." in ui.text()

    ui.use_older_ui()
    ui.open_version(world.name, 1)
    ui.move_to_stage("Production")
    assert world.registry.version(world.name, 1).stage == "Production"
