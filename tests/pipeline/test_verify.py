"""`slipway verify`: a line for each thing that was recorded, and exit code 1 for the first that differs."""

import shutil

import pytest
from sqlalchemy import delete, update

from pipeline.reconcile.serving import RefusedError
from pipeline.verify import ask_golden, verify_alone
from registry.database import LEDGER
from serving.stores import open_store
from slipway.errors import IntegrityError
from tests.pipeline.lifecycle_world import json_of
from tests.registry.tampering import tamper
from tests.serving.model_server.processes import free_ports, model_server
from tests.serving.model_server.servables import WEIGHTS


@pytest.fixture
def live(registered, monkeypatch):
    """Version 1: champion, published."""
    version = registered.version()
    registered.made_live(version)
    assert registered.call(monkeypatch, "export", "--name", "digits", "--version", 1).code == 0
    return version


def test_whole_copies_are_a_line_each_and_exit_code_0(registered, live, monkeypatch):
    done = registered.call(monkeypatch, "verify", "--name", "digits")
    assert done.code == 0
    _, stored, published = done.out.splitlines()
    assert stored.split()[:2] == ["registry", "whole"]
    assert live.tags["slipway.manifest_digest"] in stored
    assert published.split()[:2] == ["published", "whole"]
    assert str(registered.base / "digits" / "1") in published


def test_what_was_published_is_not_run_to_be_asked_unless_it_is_what_was_registered(registered, live, monkeypatch):
    """Sealed, whole, and another network: it could be made to answer anything, and a network is a program."""
    other = registered.version(weights=-WEIGHTS)
    registered.published(monkeypatch, other)
    here, there = (registered.base / "digits" / str(number) for number in (1, other.version))
    shutil.rmtree(here)
    shutil.copytree(there, here)
    log = registered.folder / "verify.log"
    with pytest.raises(RefusedError, match=f"expected {live.tags['slipway.manifest_digest']}"):
        verify_alone(live, open_store(str(registered.base)), log)
    assert not log.exists()


def test_golden_requests_that_were_changed_are_not_asked(registered, live):
    golden = registered.base / "digits" / "1" / "assets.extra" / "slipway" / "golden" / "golden.npz"
    golden.write_bytes(golden.read_bytes()[:-1] + b"x")
    with pytest.raises(IntegrityError, match=r"golden\.npz has sha256"):
        ask_golden("127.0.0.1:9", live, open_store(str(registered.base)))


@pytest.mark.parametrize("damaged", ["registry", "published"])
def test_one_changed_byte_is_found_and_its_file_named(registered, live, monkeypatch, damaged):
    places = {
        "registry": registered.servable(1, "digits") / "labels.json",
        "published": registered.base / "digits" / "1" / "assets.extra" / "slipway" / "labels.json",
    }
    places[damaged].write_bytes(places[damaged].read_bytes().swapcase())
    done = registered.call(monkeypatch, "verify", "--name", "digits", "--version", 1, "--json")
    assert done.code == 1
    found = {each["subject"]: each for each in json_of(done)["findings"]}
    assert {subject for subject, each in found.items() if not each["whole"]} == {damaged}
    assert "labels.json" in found[damaged]["text"]


def test_a_version_that_is_not_published_is_not_called_whole(registered, live, monkeypatch):
    registered.version()
    done = registered.call(monkeypatch, "verify", "--name", "digits", "--version", 2)
    assert done.code == 1
    assert "is not published" in done.out


def test_a_server_is_asked_the_golden_requests_of_that_version(registered, live, monkeypatch, tmp_path):
    flags = (f"--model_base_path={registered.base / 'digits'}", "--model_name=digits", "--runtime=onnxruntime")
    with model_server(tmp_path / "log", *flags) as server:
        server.wait_ready()
        done = registered.call(monkeypatch, "verify", "--name", "digits", "--address", f"grpc://{server.address}")
    assert done.code == 0, done.out
    assert "server     whole    passed: 64 golden requests" in done.out


def test_a_server_that_does_not_answer_is_not_called_whole(registered, live, monkeypatch):
    done = registered.call(
        monkeypatch, "verify", "--name", "digits", "--address", f"grpc://127.0.0.1:{free_ports(1)[0]}"
    )
    assert done.code == 1
    assert "server     WRONG" in done.out


def test_golden_requests_are_not_asked_over_rest(registered, live, monkeypatch):
    done = registered.call(monkeypatch, "verify", "--name", "digits", "--address", "http://127.0.0.1:8501")
    assert done.code == 2
    assert "Pass grpc://HOST:8500" in done.error


def test_the_ledger_alone_needs_no_registry_and_says_its_last_digest(registered, live, monkeypatch):
    done = registered.call(monkeypatch, "verify", "--ledger")
    assert done.code == 0
    assert "1 entries, each the one that was appended" in done.out
    assert registered.ledger.entries()[-1].digest in done.out
    assert "registry" not in done.out


def test_an_edited_entry_is_named(registered, live, monkeypatch):
    for action in ("rollback", "promote"):
        registered.made_live(live, 1, action=action)
    tamper(registered.ledger.engine, update(LEDGER).where(LEDGER.c.id == 2).values(actor="somebody else"))
    done = registered.call(monkeypatch, "verify", "--ledger")
    assert done.code == 1
    assert "entry 2 (rollback digits to version 1) is not the one that was appended" in done.out


def test_an_end_that_was_cut_off_is_found_by_a_digest_that_was_kept(registered, live, monkeypatch):
    kept = registered.made_live(live, 1, reason="again").digest
    assert registered.call(monkeypatch, "verify", "--ledger", "--digest", kept).code == 0
    tamper(registered.ledger.engine, delete(LEDGER).where(LEDGER.c.id == 2))
    assert registered.call(monkeypatch, "verify", "--ledger").code == 0
    done = registered.call(monkeypatch, "verify", "--ledger", "--digest", kept)
    assert done.code == 1
    assert f"has the digest {kept}" in done.out


@pytest.mark.parametrize(
    ("words", "remedy"), [(("--digest", "ab" * 32), "--ledger"), (("--ledger", "--digest", "a"), "12")]
)
def test_a_digest_that_proves_nothing_is_refused(registered, monkeypatch, words, remedy):
    done = registered.call(monkeypatch, "verify", *words)
    assert done.code == 2
    assert remedy in done.error
