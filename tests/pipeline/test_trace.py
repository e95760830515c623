"""`slipway trace`: from an answer's id, or a version's number, back to everything that led to it."""

import http.client
import json
import re

import pytest

from pipeline.plugin.records import Record, keep_record
from registry.ledger import NewEntry
from serving.request_ids import new_request_id, parse_request_id
from serving.stores import open_store
from tests.pipeline.lifecycle_world import json_of
from tests.pipeline.registered_world import COMMIT
from tests.serving.model_server.processes import model_server
from tests.serving.model_server.servables import SIZE


def digest_of(version):
    return version.tags["slipway.manifest_digest"]


def trace(world, patch, what, *words):
    return world.call(patch, "trace", what, *words)


def test_an_answers_id_leads_to_version_approver_gate_run_commit_data_and_bytes(registered, monkeypatch):
    version = registered.version()
    report = registered.logged_report(version)
    registered.made_live(version, gate_report=report)
    asked = new_request_id(1, digest_of(version))
    done = trace(registered, monkeypatch, asked, "--name", "digits", "--json")
    assert done.code == 0, done.err
    found = json_of(done)
    assert (found["request_id"], found["model"], found["version"]) == (asked, "digits", 1)
    assert (found["aliases"], found["approver"], found["forced"]) == (["champion"], "ada", False)
    assert found["gate"] == report
    assert (found["run"]["id"], found["run"]["name"]) == (version.run_id, "train")
    assert (found["commit"], found["dirty"]) == (COMMIT, False)
    assert found["dataset"] == {"digest": "da" * 32, "source": "a-folder"}
    files = [path for path in registered.servable(1, "digits").rglob("*") if path.is_file()]
    sealed = [path.stat().st_size for path in files if path.name != "manifest.json"]
    servable = {"digest": digest_of(version), "files": len(sealed), "size_bytes": sum(sealed)}
    assert found["servable"] == servable
    assert [row["variant"] for row in found["variants"]] == ["onnx-fp32", "tensorflow-fp32"]
    assert found["notes"] == []


def test_people_read_the_same_as_lines_and_tables(registered, monkeypatch):
    version = registered.version()
    registered.made_live(version, gate_report=registered.logged_report(version), reason="it is better")
    done = trace(registered, monkeypatch, "1", "--name", "digits")
    labels = [line.split()[0] for line in done.out.split("\n\n")[0].splitlines()]
    assert labels == ["digits", "stands", "live", "approver", "run", "registered", "commit", "dataset", "servable"]
    assert "promote by ada (command): it is better; until now" in done.out
    assert "digits version 1 passes, against no champion:" in done.out
    assert re.search(r"^accuracy +0.9 +at least 0.8 +pass$", done.out, re.MULTILINE)
    assert re.search(r"^onnx-fp32 ", done.out, re.MULTILINE)
    assert digest_of(version) in done.out


def test_a_real_servers_answer_can_be_traced(registered, monkeypatch, tmp_path):
    """The id in the header of a prediction, not one made by hand."""
    version = registered.version()
    assert registered.call(monkeypatch, "export", "--name", "digits", "--version", 1).code == 0
    flags = (f"--model_base_path={registered.base / 'digits'}", "--model_name=digits", "--runtime=onnxruntime")
    with model_server(tmp_path / "log", *flags) as server:
        server.wait_ready()
        asked = request_id(server)
    assert parse_request_id(asked).version == 1
    found = json_of(trace(registered, monkeypatch, asked, "--name", "digits", "--json"))
    assert found["servable"]["digest"] == digest_of(version)


def request_id(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=30)
    pixels = [[[0, 0, 0]] * SIZE[1]] * SIZE[0]
    connection.request("POST", "/v1/models/digits:predict", json.dumps({"instances": [pixels]}))
    response = connection.getresponse()
    body = response.read()
    connection.close()
    assert response.status == 200, body
    return response.headers["x-slipway-request-id"]


def test_an_id_of_another_model_is_found_by_its_digest(registered, monkeypatch):
    registered.version("digits")
    other = registered.version("letters")
    done = trace(registered, monkeypatch, new_request_id(1, digest_of(other)), "--name", "digits", "--json")
    assert json_of(done)["model"] == "letters"


def test_an_id_is_found_whatever_name_is_the_default(registered, monkeypatch):
    version = registered.version("letters")
    done = trace(registered, monkeypatch, new_request_id(1, digest_of(version)), "--json")
    assert json_of(done)["model"] == "letters"


@pytest.mark.parametrize(
    ("what", "code", "said"),
    [
        ("1-none-0123456789abcdef", 1, "has no manifest"),
        ("0-none-0123456789abcdef", 1, "refused before one was chosen"),
        ("1-000000000000-0123456789abcdef", 1, "whose manifest's digest begins with 000000000000"),
        ("7", 1, "digits has no version 7; it has 1"),
        ("champion", 2, "expected VERSION-DIGEST-RANDOM"),
        ("", 2, "Or name a version by its number"),
        ("1-0000000000001-0123456789abcdef", 2, "expected VERSION-DIGEST-RANDOM"),
    ],
)
def test_what_cannot_be_traced_says_why_in_one_line(registered, monkeypatch, what, code, said):
    registered.version()
    done = trace(registered, monkeypatch, what, "--name", "digits")
    assert done.code == code
    assert said in done.error


def test_a_version_that_was_live_in_a_deployment_of_another_name_says_so(registered, monkeypatch):
    version = registered.version()
    registered.base.mkdir()
    store = open_store(str(registered.base))
    for name, model in (("trial", "digits"), ("other", "letters")):
        keep_record(store, name, Record(f"models:/{model}/1", model))
        registered.ledger.append(
            NewEntry(name, "promote", "champion", None, 1, "bea", "deployments", "deployed from a link")
        )
    asked = new_request_id(1, digest_of(version))
    found = json_of(trace(registered, monkeypatch, asked, "--name", "digits", "--json"))
    assert (found["live"], list(found["deployments"])) == ([], ["trial"])
    assert found["deployments"]["trial"][0]["actor"] == "bea"
    done = trace(registered, monkeypatch, asked, "--name", "digits")
    assert re.search(r"^live +as trial, since .* promote by bea \(deployments\)", done.out, re.MULTILINE)
    assert "never, as far" not in done.out


def test_the_version_in_an_id_must_be_the_one_with_that_digest(registered, monkeypatch):
    version = registered.version()
    registered.version()
    done = trace(registered, monkeypatch, new_request_id(2, digest_of(version)), "--name", "digits")
    assert done.code == 1
    assert "has a version 2 whose manifest's digest begins with" in done.error


def test_a_forced_promotion_and_its_end_are_told(registered, monkeypatch):
    bad, good = registered.version(), registered.version()
    registered.made_live(bad, forced=True, gate_report=registered.logged_report(bad, right=3), reason="demo")
    registered.made_live(good, 1, actor="bea", reason="enough")
    done = trace(registered, monkeypatch, "1", "--name", "digits")
    assert "promote by ada (command, forced): demo; until" in done.out
    assert "promote by bea to version 2: enough" in done.out
    assert "approver   ada, against the gate" in done.out
    assert "digits version 1 is refused" in done.out


def test_of_a_promotion_in_the_ui_no_approver_is_made_up(registered, monkeypatch):
    version = registered.version()
    registered.made_live(version, actor="not recorded by MLflow", origin="ui")
    found = json_of(trace(registered, monkeypatch, "1", "--name", "digits", "--json"))
    assert found["approver"] == "not recorded by MLflow"


def test_code_that_was_changed_after_its_commit_is_named_so(registered, monkeypatch):
    registered.version(commit=f"{COMMIT}-dirty")
    done = trace(registered, monkeypatch, "1", "--name", "digits")
    assert f"commit     {COMMIT}, and changes that were not committed" in done.out


def test_what_is_missing_is_a_note_and_the_rest_is_told(registered, monkeypatch):
    """A version that the gate never judged, whose run was deleted for good, and whose manifest was edited."""
    version = registered.version()
    manifest = registered.servable(1, "digits") / "manifest.json"
    manifest.write_bytes(manifest.read_bytes() + b" ")
    registered.forget_run(version.run_id)
    done = trace(registered, monkeypatch, "1", "--name", "digits")
    assert done.code == 0, done.err
    notes = [line for line in done.out.splitlines() if line.startswith("note")]
    assert len(notes) == 4
    assert "no gate report" in notes[0]
    assert f"run '{version.run_id}' does not exist" in notes[1]
    assert "is not the registered one" in notes[3]
    assert "never, as far as the ledger knows" in done.out
    assert digest_of(version) in done.out
