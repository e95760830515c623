"""The server's page in a browser: what is live, an image tried, a swap seen without reload; axe objects to nothing."""

import re

import pytest

from tests.browser.chromium import window
from tests.browser.page_world import PageWorld, asked, drop, expect_explanation, instance, jpeg
from tests.pipeline.reconcile_world import NAME, OTHER, follower

pytestmark = [pytest.mark.integration, pytest.mark.timeout(200)]

PHONE, DESKTOP = {"width": 360, "height": 740}, {"width": 1280, "height": 900}
PATIENCE_MS = 15_000


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """Version 1 is live by Ada's promotion, 2 and 3 are registered; a server follows the base path."""
    world = PageWorld(tmp_path_factory.mktemp("page"))
    versions = [world.version(NAME, weights=weights) for weights in (OTHER, -OTHER, OTHER * 2)]
    for version in versions[:2]:
        world.carded(version)
    with follower(world) as server:
        world.made_live(versions[0], gate_report=world.logged_report(versions[0]))
        world.pass_over()
        yield world, f"http://127.0.0.1:{server.rest}"


@pytest.fixture
def opened(browser, served):
    """The page in a window of its own; a script that fails, or a file of its own that is missing, fails the test."""
    with window(browser) as found:
        found.page.set_default_timeout(PATIENCE_MS)
        found.page.goto(served[1])
        yield found.page
    own = [text for text in found.problems if ":explain" not in text and "status of " not in text]
    assert own == []


def live(page):
    return page.locator(f"#served-model-{NAME} .label").filter(has_text="stable")


def test_the_page_says_what_is_live_since_when_by_whom_and_shows_the_gate_of_a_decision(opened, served):
    from playwright.sync_api import expect

    expect(live(opened)).to_contain_text(re.compile(r"version \d"), timeout=PATIENCE_MS)
    expect(live(opened)).to_contain_text(re.compile(r"by(ada|not recorded)"))
    entry = opened.locator("#ledger details").filter(has_text="by ada").first
    entry.locator("summary").focus()
    opened.keyboard.press("Enter")
    expect(entry.get_by_role("table")).to_contain_text("parity")
    card = opened.locator("#cards details").first
    card.locator("summary").click()
    expect(card.get_by_role("heading", name="Limits")).to_be_visible()
    expect(card).to_contain_text("30 <b>pictures</b>")  # as text, never as HTML
    expect(card.get_by_role("heading", name="Gate")).to_be_visible()


def test_a_dropped_jpeg_gets_a_label_probabilities_and_a_heat_map_where_the_server_has_one(opened, served):
    from playwright.sync_api import expect

    document = {"signature_name": "serving_bytes", "instances": [instance()]}
    path = f"{served[1]}/v1/models/{NAME}/labels/stable"
    status, answer = asked(f"{path}:predict", document)
    assert status == 200, answer
    expect(live(opened)).to_be_visible()
    drop(opened, jpeg())
    found = opened.locator(".answer")
    expect(found.locator(".class")).to_have_text(answer["predictions"][0]["label"])
    expect(found.locator(".bars li")).to_have_count(3)
    expect(found.locator(".bars")).to_contain_text("ant")
    expect(opened.locator("#said")).to_contain_text("photo.jpg: stable says")
    expect(opened.locator(".traffic table")).to_be_visible()
    expect_explanation(found, *asked(f"{path}:explain", {"instances": [instance()]}))


def test_a_swap_and_the_traffic_are_seen_without_a_reload(opened, served):
    from playwright.sync_api import expect

    world, address = served
    opened.evaluate("window.stillHere = true")
    before = world.registry.aliases(NAME)["champion"]
    after = 3 - before
    expect(live(opened)).to_contain_text(f"version {before}")
    document = {"signature_name": "serving_bytes", "instances": [instance()]}
    row = opened.locator(".traffic tr").filter(has_text=f"version {before}, stable")
    counted = int(row.locator("td").first.inner_text())
    for _ in range(3):
        assert asked(f"{address}/v1/models/{NAME}:predict", document)[0] == 200
    expect(row.locator("td").first).to_have_text(str(counted + 3))
    expect(row.locator("td").nth(3)).to_have_text(re.compile(r"^\d"))
    world.champion(after)
    world.pass_over()
    expect(live(opened)).to_contain_text(f"version {after}")
    expect(live(opened)).to_contain_text("alias champion was moved in MLflow")
    expect(opened.locator("#ledger details").first).to_contain_text(f"version {before} → version {after}")
    assert opened.evaluate("window.stillHere") is True


def test_stable_and_canary_answer_side_by_side(opened, served):
    from playwright.sync_api import expect

    world, _ = served
    world.registry.set_alias(NAME, "challenger", 3)
    world.pass_over()
    expect(opened.locator(".label.canary")).to_contain_text("version 3")
    opened.set_input_files("#file", {"name": "chosen.jpg", "mimeType": "image/jpeg", "buffer": jpeg(1)})
    expect(opened.locator(".answer")).to_have_count(2)
    expect(opened.locator(".answer[data-label=canary] h3")).to_have_text("canary, version 3")
    expect(opened.locator("#said")).to_contain_text("; canary says")
    world.registry.delete_alias(NAME, "challenger")
    world.pass_over()
    expect(opened.locator(".label.canary")).to_have_count(0)


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_axe_finds_no_violation_in_light_and_in_dark_and_nothing_is_wider_than_the_screen(opened, size):
    from axe_playwright_python.sync_playwright import Axe
    from playwright.sync_api import expect

    opened.set_viewport_size(size)
    expect(live(opened)).to_be_visible()
    drop(opened, jpeg())
    expect(opened.locator(".bars li")).to_have_count(3)
    for summary in opened.locator("summary").all():
        summary.click()
    for scheme in ("light", "dark"):
        opened.emulate_media(color_scheme=scheme)
        assert [(each["id"], each["nodes"][0]["html"]) for each in Axe().run(opened).response["violations"]] == []
    assert opened.evaluate("document.documentElement.scrollWidth") <= size["width"]


def test_the_page_asks_nobody_but_its_server_and_moves_nothing_while_it_loads(browser, served):
    from playwright.sync_api import expect

    with window(browser) as found:
        asked_of = []
        found.page.on("request", lambda request: asked_of.append(request.url))
        found.page.add_init_script(
            "window.shift = 0; new PerformanceObserver((list) => { for (const each of list.getEntries()) "
            "window.shift += each.value; }).observe({ type: 'layout-shift', buffered: true });"
        )
        found.page.goto(served[1])
        expect(live(found.page)).to_be_visible()
        found.page.wait_for_timeout(4000)
        assert asked_of
        assert {url.split("/", 3)[2] for url in asked_of} == {served[1].split("/")[2]}
        assert found.page.evaluate("window.shift") < 0.1
