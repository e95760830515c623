"""The page's files and its document: who may fetch them, what the browser is told, and what is said to be missing."""

import json
import re
from importlib.resources import files

import pytest

from serving.model_server.flags import Flags
from serving.model_server.load_rules import LoadRules
from serving.model_server.models import Models
from serving.model_server.page.document import PageFile, page_document
from serving.model_server.page.site import DOCUMENT, PATHS, facts_of
from serving.page_file import page_file
from serving.servable.layout import LABELS, MANIFEST, published_path
from tests.serving.model_server.closed_world import closed_server, give_token, one_model
from tests.serving.model_server.fakes import FakeLoads, eventually, put_version, settings

FACTS = {"ledger_id": 3, "labels": {"stable": {"version": 1}}, "ledger": [], "cards": {"1": "# m"}}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return one_model(tmp_path_factory.mktemp("page") / "m")


@pytest.fixture(scope="module")
def facts(tmp_path_factory):
    return tmp_path_factory.mktemp("facts") / "page.json"


@pytest.fixture(scope="module")
def server(models, facts):
    with closed_server(models, f"--page_file={facts}") as server:
        yield server


def document(server, token=None):
    status, headers, text = server.rest("GET", DOCUMENT, token)
    assert (status, headers["content-type"]) == (200, "application/json")
    return json.loads(text)


@pytest.mark.parametrize("path", sorted(PATHS))
def test_each_file_comes_with_a_policy_that_allows_nothing_from_elsewhere(server, path):
    status, headers, text = server.rest("GET", path)
    assert status == 200
    assert text
    policy = dict(part.strip().partition(" ")[::2] for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert {policy[kind] for kind in ("script-src", "style-src", "connect-src")} == {"'self'"}
    assert policy["img-src"] == "'self' blob:"
    assert {policy[kind] for kind in ("base-uri", "form-action", "frame-ancestors")} == {"'none'"}
    assert headers["x-content-type-options"] == "nosniff"
    assert server.rest("HEAD", path)[::2] == (200, "")


def test_the_files_hold_no_address_no_style_or_script_inside_and_make_no_html_of_text():
    folder = files("serving.model_server.page")
    for name in ("index.html", "page.css", "page.js", "live.js", "trial.js", "markdown.js", "elements.js"):
        text = folder.joinpath(name).read_text(encoding="utf-8")
        assert not re.search(r"https?://[a-z]", text), name
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", text), name
    index = folder.joinpath("index.html").read_text(encoding="utf-8")
    assert not re.search(r"<style| style=| on\w+=|<script(?![^>]*src=)", index)


def test_every_file_of_the_page_is_served_and_packaged():
    import tomllib
    from fnmatch import fnmatch
    from pathlib import Path

    there = {
        each.name for each in files("serving.model_server.page").iterdir() if not each.name.endswith((".py", "__"))
    }
    assert there == {path.lstrip("/") or "index.html" for path in PATHS}
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = project["tool"]["setuptools"]["package-data"]["serving.model_server.page"]
    assert all(any(fnmatch(name, pattern) for pattern in patterns) for name in there)


def test_the_document_has_the_servers_own_state_and_the_facts_as_the_file_has_them_now(server, facts):
    assert "is not there yet" in document(server)["missing"]
    facts.write_bytes(page_file("http://mlflow:5000", {"m": FACTS, "other": FACTS}))
    found = document(server)
    assert (found["mlflow"], found["missing"]) == ("http://mlflow:5000", "")
    (model,) = found["models"]
    assert (model["name"], model["facts"]) == ("m", FACTS)
    assert model["versions"][0]["state"] == "AVAILABLE"
    assert model["traffic"] == {"stable": 100.0, "canary": 0.0, "shadow": 0.0}
    assert model["classes"] == {"1": []}
    facts.write_text("{}")
    found = document(server)
    assert "expected slipway.page/1" in found["missing"]
    assert found["models"][0]["facts"] is None
    facts.unlink()
    assert "is not there yet" in document(server)["missing"]


def test_a_server_without_the_file_says_so(models):
    with closed_server(models) as server:
        assert "without --page_file" in document(server)["missing"]
        assert server.rest()[0] == 200


def test_the_classes_are_those_of_the_version_that_was_loaded_whatever_its_directory_has_by_now(tmp_path):
    staged = put_version(tmp_path / "aside", 1, 1)
    labels = published_path(LABELS)
    (staged / labels).parent.mkdir(parents=True)
    (staged / published_path(MANIFEST)).write_text("{}")
    (staged / labels).write_text('["ant", "bee"]')
    (tmp_path / "m").mkdir()
    staged.rename(tmp_path / "m" / "1")
    models = Models(LoadRules(FakeLoads()))
    models.configure([settings(tmp_path / "m")])
    eventually(models.ready)
    (tmp_path / "m" / "1" / labels).write_text('["cat", "dog"]')
    (model,) = json.loads(page_document(models, PageFile(None)))["models"]
    assert model["classes"] == {"1": ["ant", "bee"]}


@pytest.mark.parametrize(
    ("doors", "shown"),
    [
        ({"host": "127.0.0.1"}, True),
        ({"host": "0.0.0.0", "insecure": True}, False),
        ({"host": "0.0.0.0", "ssl_config_file": "/ssl"}, False),  # whoever has a certificate
        ({"host": "0.0.0.0", "access_tokens_file": "/tokens"}, True),
    ],
)
def test_who_made_what_live_is_not_for_other_machines_that_are_asked_for_no_token(doors, shown, tmp_path):
    file = tmp_path / "page.json"
    file.write_bytes(page_file("http://mlflow:5000", {"m": FACTS}))
    mlflow, facts, missing = facts_of(Flags(page_file=str(file), **doors)).read()
    assert (mlflow, dict(facts)) == (("http://mlflow:5000", {"m": FACTS}) if shown else (None, {}))
    assert ("--access_tokens_file" in missing) is not shown


def test_pages_of_other_origins_read_nothing_of_the_page_also_where_they_may_predict(models, tmp_path):
    facts = tmp_path / "page.json"
    facts.write_bytes(page_file(None, {"m": FACTS}))
    allowed = "access-control-allow-origin"
    with closed_server(models, f"--page_file={facts}", "--rest_api_enable_cors_support") as server:
        for path in (*PATHS, DOCUMENT, "/v1/%70age"):
            for method in ("GET", "OPTIONS"):
                assert allowed not in server.rest(method, path)[1], path
        assert server.rest()[1][allowed] == "*"
        assert server.rest("OPTIONS")[1][allowed] == "*"


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("localhost", True),
        ("LocalHost:8501", True),
        ("127.0.0.1:8501", True),
        ("[::1]:8501", True),
        ("rebound.example", False),  # which a web site had resolve to 127.0.0.1
        ("rebound.example:8501", False),
        ("localhost.rebound.example", False),
        ("", False),
    ],
)
def test_on_loopback_facts_are_for_who_asks_by_a_name_of_loopback(models, tmp_path, host, shown):
    facts = tmp_path / "page.json"
    facts.write_bytes(page_file("http://mlflow:5000", {"m": FACTS}))
    with closed_server(models, f"--page_file={facts}") as server:
        status, _, text = server.rest("GET", DOCUMENT, headers={"Host": host})
    assert status == 200
    assert (json.loads(text)["mlflow"] == "http://mlflow:5000") is shown
    assert (json.loads(text)["models"][0]["facts"] == FACTS) is shown
    assert ("127.0.0.1" in json.loads(text)["missing"]) is not shown


def test_where_tokens_are_asked_for_the_server_may_have_any_name(models, tmp_path):
    facts = tmp_path / "page.json"
    facts.write_bytes(page_file(None, {"m": FACTS}))
    token = give_token(tmp_path / "tokens", "website")
    with closed_server(models, f"--page_file={facts}", f"--access_tokens_file={tmp_path / 'tokens'}") as server:
        text = server.rest("GET", DOCUMENT, token, {"Host": "models.example"})[2]
    assert json.loads(text)["models"][0]["facts"] == FACTS


def test_the_files_are_open_and_the_document_is_for_who_has_a_token(models, tmp_path):
    tokens = {"predict": give_token(tmp_path / "tokens", "website")}
    tokens |= {scope: give_token(tmp_path / "tokens", scope, scope) for scope in ("admin", "metrics")}
    with closed_server(models, f"--access_tokens_file={tmp_path / 'tokens'}") as server:
        assert {server.rest("GET", path)[0] for path in PATHS} == {200}
        assert server.rest("GET", DOCUMENT)[0] == 401
        assert server.rest("GET", DOCUMENT, tokens["metrics"])[0] == 403
        assert document(server, tokens["predict"])["models"]
        assert document(server, tokens["admin"])["models"]
        assert server.rest("POST", "/")[0] == 401


def test_without_the_page_there_is_neither(models, tmp_path):
    token = give_token(tmp_path / "tokens", "website")
    with closed_server(models, "--page=false", f"--access_tokens_file={tmp_path / 'tokens'}") as server:
        eventually(models.ready)
        assert [server.rest("GET", path)[0] for path in ("/", DOCUMENT)] == [401, 401]
        assert [server.rest("GET", path, token)[0] for path in ("/", DOCUMENT)] == [404, 400]
