"""What reconcile writes for the page: who made live what is, the last decisions, the cards; only when it is new."""

from types import SimpleNamespace

import pytest

from pipeline.page_facts import refresh_page, ui_address
from pipeline.reconcile.report import ModelReport, Report
from serving.model_config import Wanted
from serving.page_file import parse_page_file
from serving.stores import open_store
from slipway.errors import UnavailableError

NAME = "digits"


@pytest.fixture
def world(registered):
    """Version 1, live by Ada's promotion, as the config files and the ledger have it."""
    world = registered
    world.base.mkdir()
    first = world.version(NAME)
    world.made_live(first, gate_report=world.logged_report(first), reason="see postgresql://ada:secret@host/db")
    world.configured(NAME, Wanted(1))
    return world


def refresh(world, *names, done=(), of_all=False, store=None):
    """What a pass over these models does at its end; returns what it says of the page."""
    said = []
    scene = SimpleNamespace(
        store=store or open_store(str(world.base)), ledger=world.ledger, registry=world.registry, say=said.append
    )
    refresh_page(scene, Report(tuple(ModelReport(name, done=list(done)) for name in names)), of_all=of_all)
    return said


def written(world):
    return parse_page_file((world.base / "page.json").read_bytes(), "page.json")


def test_the_file_says_since_when_and_by_whom_a_version_is_live_and_what_the_gate_measured(world):
    assert refresh(world, NAME) == []
    mlflow, models = written(world)
    assert mlflow is None  # the registry is a database
    stable = models[NAME]["labels"]["stable"]
    assert (stable["version"], stable["actor"], stable["origin"]) == (1, "ada", "command")
    assert stable["since"].endswith("+00:00")
    (entry,) = models[NAME]["ledger"]
    assert (entry["action"], entry["from_version"], entry["to_version"]) == ("promote", None, 1)
    assert entry["gate"].startswith("passed 0.9")
    assert {"accuracy", "parity"} <= {rule["rule"] for rule in entry["rules"]}
    assert models[NAME]["cards"] == {"1": "a card"}


def test_no_credentials_reach_the_file(world):
    refresh(world, NAME)
    assert "secret" not in (world.base / "page.json").read_text()
    assert "postgresql://host/db" in (world.base / "page.json").read_text()


def test_a_quiet_pass_leaves_the_file_alone_and_a_new_entry_is_in_it_newest_first(world):
    refresh(world, NAME)
    before = (world.base / "page.json").stat()
    refresh(world, NAME)
    assert (world.base / "page.json").stat() == before
    second = world.version(NAME)
    for number in range(12):
        world.made_live(second, before=1, reason=f"move {number}")
    refresh(world, NAME)
    assert [each["reason"] for each in written(world)[1][NAME]["ledger"]] == [f"move {n}" for n in range(11, 1, -1)]


def test_a_refusal_and_a_rollout_do_not_change_since_when_a_version_is_live(world):
    refresh(world, NAME)
    since = written(world)[1][NAME]["labels"]["stable"]
    second = world.version(NAME)
    for action, before, after in (("refuse", 2, 1), ("rollout", None, 1)):
        world.made_live(second, before, action=action, to_version=after, actor="bob")
    refresh(world, NAME)
    assert written(world)[1][NAME]["labels"]["stable"] == since


def test_a_pass_over_one_model_keeps_the_others_and_a_pass_over_all_drops_what_is_served_no_more(world):
    refresh(world, NAME)
    letters = world.version("letters")
    world.made_live(letters)
    world.configured("letters", Wanted(1))
    refresh(world, "letters")
    assert written(world)[1].keys() == {NAME, "letters"}
    refresh(world, "letters", of_all=True)
    assert written(world)[1].keys() == {"letters"}


def test_a_file_that_is_none_of_ours_is_written_anew(world):
    (world.base / "page.json").write_text("{")
    refresh(world, NAME, done=["live"])
    assert written(world)[1].keys() == {NAME}


def test_a_label_that_nobody_moved_on_record_has_the_time_of_its_tag(world):
    world.version(NAME)
    world.registry.set_tags(NAME, 2, {"slipway.deploy_time": "2026-11-22T15:18:16+00:00"})
    world.configured(NAME, Wanted(1, challenger=2, canary=True))
    refresh(world, NAME, done=["canary"])
    canary = written(world)[1][NAME]["labels"].get("canary")
    assert canary == {"version": 2, "since": "2026-11-22T15:18:16+00:00", "actor": "", "origin": "", "reason": ""}


def test_a_base_path_that_cannot_be_written_is_said_and_fails_no_pass(world):
    class Away:
        def update_file(self, _path, _update):
            raise UnavailableError("s3://b: does not answer.")

    assert refresh(world, NAME, store=Away()) == ["page.json stays as it was: s3://b: does not answer."]


@pytest.mark.parametrize(
    ("tracking", "ui"),
    [
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("https://ada:p%40ss@mlflow.example/team/?token=x", "https://mlflow.example/team"),  # pragma: allowlist secret
        ("http://[::1]:5000/", "http://[::1]:5000"),
        ("sqlite:///mlflow.db", None),
        ("postgresql://ada:secret@host/db", None),
    ],
)
def test_the_address_of_the_ui_is_the_tracking_servers_without_its_login(tracking, ui):
    assert ui_address(tracking) == ui
