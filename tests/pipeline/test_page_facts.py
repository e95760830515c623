"""What reconcile writes for the page: who made live what is, the last decisions, the cards; only when it is new."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from pipeline.config import Config
from pipeline.page_facts import refresh_page, ui_address
from pipeline.reconcile.config import ReconcileConfig
from pipeline.reconcile.report import ModelReport, Report
from pipeline.serve import mlflow_ui
from registry.ledger import Ledger
from serving.model_config import Wanted
from serving.page_file import parse_page_file
from serving.stores import open_store
from slipway.errors import InputError, UnavailableError

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


def refresh(world, *names, done=(), of_all=False, store=None, mlflow_ui=""):
    """What a pass over these models does at its end; returns what it says of the page."""
    said = []
    scene = SimpleNamespace(
        store=store or open_store(str(world.base)),
        ledger=world.ledger,
        registry=world.registry,
        config=Config(reconcile=ReconcileConfig(mlflow_ui=mlflow_ui)),
        say=said.append,
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
    assert models[NAME]["runs"] == {"1": world.registry.version(NAME, 1).run_id}


def test_no_credentials_reach_the_file(world):
    refresh(world, NAME)
    assert "secret" not in (world.base / "page.json").read_text()
    assert "postgresql://host/db" in (world.base / "page.json").read_text()


def test_the_address_that_people_use_is_in_the_file_as_soon_as_it_is_set_and_no_longer(world):
    refresh(world, NAME)
    for address in ("https://mlflow.example/team", "http://127.0.0.1:5000"):
        assert refresh(world, NAME, mlflow_ui=address) == []
        assert written(world)[0] == address
    refresh(world, NAME)
    assert written(world)[0] is None


@pytest.mark.parametrize(("set_to", "found"), [("", "http://127.0.0.1:5000"), ("https://m/team", "https://m/team")])
def test_serve_gives_its_passes_the_address_of_the_ui_that_it_starts(monkeypatch, tmp_path, set_to, found):
    start = subprocess.Popen

    def sleeper(_command, **more):
        return start((sys.executable, "-c", "import time; time.sleep(60)"), **more)

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setattr("pipeline.serve.check_ports_free", lambda *_: None)
    monkeypatch.setattr("pipeline.serve.subprocess.Popen", sleeper)
    with mlflow_ui(Config(reconcile=ReconcileConfig(mlflow_ui=set_to))) as told:
        assert told.reconcile.mlflow_ui == found


@pytest.mark.parametrize("wrong", ["mlflow:5000", "ftp://mlflow", "https://", "http://a b", "http://m/?a=b"])
def test_an_address_that_no_browser_could_follow_is_refused(wrong):
    with pytest.raises(InputError, match=r"^reconcile\.mlflow_ui .*expected http.*--mlflow-ui\.$"):
        ReconcileConfig(mlflow_ui=wrong)


def test_an_address_with_a_password_is_refused_and_not_repeated():
    with pytest.raises(InputError) as refused:
        ReconcileConfig(mlflow_ui="http://ada:secret@mlflow")  # pragma: allowlist secret
    assert "secret" not in str(refused.value)


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


def test_one_models_trouble_keeps_its_own_part_as_it_was_and_no_other_ones(world, monkeypatch):
    refresh(world, NAME)
    before = written(world)[1][NAME]
    letters = world.version("letters")
    for name, version in ((NAME, world.version(NAME)), ("letters", letters)):
        world.made_live(version)
        world.configured(name, Wanted(version.version))
    entries = Ledger.entries

    def broken(ledger, name):
        if name == NAME:
            raise UnavailableError("the ledger of digits: does not answer.")
        return entries(ledger, name)

    monkeypatch.setattr(Ledger, "entries", broken)
    said = refresh(world, NAME, "letters", of_all=True)
    assert said == [f"page.json keeps what it said of {NAME}: the ledger of digits: does not answer."]
    assert written(world)[1][NAME] == before
    assert written(world)[1]["letters"]["labels"]["stable"]["version"] == 1


def test_a_failure_that_nobody_foresaw_is_said_and_ends_no_promotion(world):
    class Broken:
        def update_file(self, _path, _update):
            raise RuntimeError("of postgresql://ada:secret@host")  # pragma: allowlist secret

    said = refresh(world, NAME, store=Broken())
    assert said == ["page.json stays as it was: unforeseen RuntimeError: of postgresql://host"]


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
