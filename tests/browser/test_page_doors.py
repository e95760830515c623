"""The page where the server asks for a token, and where TensorFlow serves, which can say where it looked."""

import pytest

from registry.card import cell
from serving.model_server.load_rules import LoadRules
from serving.model_server.models import Models
from serving.page_file import page_file
from tests.browser.chromium import window
from tests.browser.page_world import asked, drop, expect_explanation, instance, jpeg
from tests.serving.model_server.closed_world import closed_server, give_token, one_model
from tests.serving.model_server.fakes import FakeLoads, eventually, put_version, settings
from tests.serving.model_server.processes import ServerProcess

pytestmark = [pytest.mark.integration, pytest.mark.timeout(200)]

SIDE = 32


def test_a_person_types_the_token_in_and_the_page_keeps_it_for_the_session(browser, tmp_path):
    from playwright.sync_api import expect

    token = give_token(tmp_path / "tokens", "ada")
    models = one_model(tmp_path / "m")
    with closed_server(models, f"--access_tokens_file={tmp_path / 'tokens'}") as server, window(browser) as found:
        page = found.page
        denied = []
        page.on("response", lambda answer: answer.status == 401 and denied.append(answer.url))
        page.goto(f"http://127.0.0.1:{server.rest_port}")
        field = page.get_by_label("This server answers who has a token")
        expect(field).to_be_visible()
        page.wait_for_timeout(4000)
        assert len(denied) == 1  # an alert counts these: a tab that was left open is no attack
        field.fill("slipway_\N{HORIZONTAL ELLIPSIS}")  # as a chat shortens it: no header can carry that
        field.press("Enter")
        expect(page.get_by_role("alert")).to_contain_text("This is no token")
        assert page.evaluate("sessionStorage.length") == 0
        field.fill("slipway_wrong")
        field.press("Enter")
        expect(page.get_by_role("alert")).to_contain_text("not known")
        assert len(denied) == 2
        field.fill(token)
        field.press("Enter")
        expect(page.locator(".model")).to_contain_text("version 1")
        expect(field).to_be_hidden()
        page.reload()
        expect(page.locator(".model")).to_contain_text("version 1")
        assert token not in page.content()
        assert page.evaluate("localStorage.length") == 0
        assert found.page.context.cookies() == []


def test_a_model_may_have_the_name_of_a_part_of_the_page(browser, tmp_path):
    from playwright.sync_api import expect

    put_version(tmp_path / "m", 1, 1)
    models = Models(LoadRules(FakeLoads()))
    models.configure([settings(tmp_path / "m", name="choice")])
    eventually(models.ready)
    with closed_server(models) as server, window(browser) as found:
        found.page.goto(f"http://127.0.0.1:{server.rest_port}")
        expect(found.page.locator(".model")).to_contain_text("version 1")
        assert found.problems == []


@pytest.mark.parametrize(("mlflow", "links"), [("http://127.0.0.1:5000", 2), ("javascript:stolen()", 0)])
def test_what_others_have_written_is_shown_as_text_and_links_lead_to_mlflow_alone(browser, tmp_path, mlflow, links):
    from playwright.sync_api import expect

    hostile = "<img src=x onerror='document.title=`stolen`'> [here](javascript:stolen()) | a"
    stable = {"version": 1, "since": hostile, "actor": hostile, "origin": hostile, "reason": hostile}
    entry = dict.fromkeys(("action", "alias", "actor", "origin", "reason", "gate", "time"), hostile)
    entry |= {"id": 1, "from_version": None, "to_version": 1, "rules": []}
    facts = {"labels": {"": stable}, "ledger": [entry], "cards": {"1": f"# {hostile}\n\n{hostile}\n\n| {hostile} |\n|"}}
    facts["runs"] = {"1": "../r"}
    (tmp_path / "page.json").write_bytes(page_file(mlflow, {"m": facts}))
    models = one_model(tmp_path / "m")
    with closed_server(models, f"--page_file={tmp_path / 'page.json'}") as server, window(browser) as found:
        found.page.goto(f"http://127.0.0.1:{server.rest_port}")
        expect(found.page.locator(".label")).to_contain_text("<img src=x")
        for summary in found.page.locator("summary").all():
            summary.click()
        assert found.page.locator("main img").count() == 0
        assert found.page.locator("a").count() == links
        for link in found.page.locator("a").all():
            assert link.get_attribute("href") in {f"{mlflow}/#/models/m/versions/1", f"{mlflow}/#/runs/..%2Fr"}
        assert found.page.title() == "Slipway: what is live"
        assert found.problems == []


def test_a_cards_cells_show_the_names_of_classes_as_they_are(browser, tmp_path):
    from playwright.sync_api import expect

    names = ["<unknown>", "a|b", "\\|", "*a* _b_ ~~c~~", "[a](http://b)", "`c`", "&lt;", "\\", "# a"]
    card = "| class |\n|---|\n" + "".join(f"| {cell(name)} |\n" for name in names)
    (tmp_path / "page.json").write_bytes(page_file(None, {"m": {"labels": {}, "ledger": [], "cards": {"1": card}}}))
    models = one_model(tmp_path / "m")
    with closed_server(models, f"--page_file={tmp_path / 'page.json'}") as server, window(browser) as found:
        found.page.goto(f"http://127.0.0.1:{server.rest_port}")
        found.page.locator("#cards summary").click()
        expect(found.page.locator("#cards tbody th")).to_have_text(names)
        assert found.page.locator("#cards a, #cards code").count() == 0


@pytest.fixture(scope="module")
def tensorflow_server(tmp_path_factory):
    """A server of an untrained network, by TensorFlow."""
    from slipway.tensorflow_start import start_tensorflow

    start_tensorflow()
    from pipeline.model import NetworkConfig, build_network
    from serving.servable.graph import write_saved_model

    base = tmp_path_factory.mktemp("looking")
    network = build_network(NetworkConfig(network="tiny", image_size=SIDE), classes=3)
    write_saved_model(network, ("ant", "bee", "cat"), base / "digits" / "1", 10_000)
    server = ServerProcess(base / "log", "--model_name=digits", f"--model_base_path={base / 'digits'}")
    try:
        server.wait_ready()
        yield f"http://127.0.0.1:{server.rest_port}"
    finally:
        server.stop()


def test_the_heat_map_lies_over_the_image_where_the_server_can_say_where_it_looked(browser, tensorflow_server):
    from playwright.sync_api import expect

    document = {"signature_name": "serving_bytes", "instances": [instance()]}
    label = asked(f"{tensorflow_server}/v1/models/digits:predict", document)[1]["predictions"][0]["label"]
    status, answer = asked(f"{tensorflow_server}/v1/models/digits:explain", {"instances": [instance()]})
    assert status == 200, answer
    with window(browser) as found:
        explained = []
        found.page.on("request", lambda request: ":explain" in request.url and explained.append(request.url))
        found.page.goto(tensorflow_server)
        expect(found.page.locator(".model")).to_contain_text("AVAILABLE")
        drop(found.page, jpeg())
        box = found.page.locator(".answer")
        expect(box.locator(".class")).to_have_text(label)
        expect_explanation(box, status, answer)
        # Of the version that answered: a label may have moved on in between.
        assert explained == [f"{tensorflow_server}/v1/models/digits/versions/1:explain"]
