"""`slipway status`: what the registry wants, what is there, and the difference, of every served model."""

import socket

import pytest

from serving.model_config import Wanted
from tests.pipeline.lifecycle_world import free_ports, json_of
from tests.serving.model_server.processes import model_server


@pytest.fixture
def two(registered, monkeypatch):
    """Version 1 is live by both config files, version 2 is published; nobody moved anything since."""
    first, second = registered.version(), registered.version()
    registered.made_live(first)
    registered.published(monkeypatch, first, second)
    registered.configured("digits", Wanted(1))
    return registered


def status(world, patch, *words):
    done = world.call(patch, "status", *words)
    assert done.code == 0, done.err
    return done


def of_digits(world, patch, *words):
    (found,) = json_of(status(world, patch, "digits", "--json", *words))["models"]
    return found


def test_without_a_difference_it_says_so(two, monkeypatch):
    found = of_digits(two, monkeypatch, "--servers", "none")
    assert (found["champion"], found["challenger"], found["previous"]) == (1, None, None)
    assert (found["differences"], found["to_do"], found["servers"]) == ([], [], [])
    done = status(two, monkeypatch, "digits", "--servers", "none")
    assert done.out.splitlines()[-1] == "the base path is as the registry says"
    assert "labels.config: 1 stable" in done.out


def test_an_alias_that_was_moved_in_the_ui_is_a_difference_and_what_would_close_it_is_said(two, monkeypatch):
    two.registry.set_alias("digits", "champion", 2)
    found = of_digits(two, monkeypatch, "--servers", "none")
    assert found["champion"] == 2
    assert found["differences"] == [
        "models.config has version 1 live, the champion is 2",
        "labels.config has version 1 live, the champion is 2",
    ]
    assert "ask version 2 its golden requests" in found["to_do"]
    done = status(two, monkeypatch, "digits", "--servers", "none")
    assert "`slipway reconcile --once` would: publish version 2; write the config files" in done.out


def test_a_challenger_that_no_server_has_is_to_be_loaded(two, monkeypatch):
    two.registry.set_alias("digits", "challenger", 2)
    found = of_digits(two, monkeypatch, "--servers", "none")
    assert (found["champion"], found["challenger"]) == (1, 2)
    assert found["differences"] == []
    assert "wait until version 2 is AVAILABLE" in found["to_do"]


def test_what_servers_of_both_kinds_hold_is_shown(two, monkeypatch, tmp_path):
    """The embedded one has both versions and says which is live; the one that reads models.config has the champion."""
    two.configured("digits", Wanted(champion=1, challenger=2, canary=True))
    with (
        model_server(tmp_path / "embedded", *two.server_flags()) as embedded,
        model_server(tmp_path / "binary", *two.server_flags("models.config")) as binary,
    ):
        embedded.wait_for(lambda: embedded.states("digits") == {1: "AVAILABLE", 2: "AVAILABLE"})
        binary.wait_for(lambda: binary.states("digits") == {1: "AVAILABLE"})
        binary.wait_for(lambda: binary.states("digits-canary") == {2: "AVAILABLE"})
        words = ("--servers", f"grpc://{embedded.address},grpc://{binary.address}")
        shown = status(two, monkeypatch, "digits", *words).out
        found = of_digits(two, monkeypatch, *words)
    assert f"grpc://{embedded.address}: 1 AVAILABLE stable, 2 AVAILABLE canary" in shown
    assert f"grpc://{binary.address}: 1 AVAILABLE, 2 AVAILABLE" in shown
    assert [server["live"] for server in found["servers"]] == [1, 1]
    assert found["labels"] == {"stable": 1, "canary": 2}


def test_a_server_that_has_another_version_live_is_a_difference(two, monkeypatch, tmp_path):
    with model_server(tmp_path / "log", *two.server_flags("models.config")) as server:
        server.wait_for(lambda: server.states("digits") == {1: "AVAILABLE"})
        two.registry.set_alias("digits", "champion", 2)
        found = of_digits(two, monkeypatch, "--servers", f"grpc://{server.address}")
    assert any(f"grpc://{server.address} answers from version 1" in each for each in found["differences"])


def test_a_server_that_does_not_answer_is_a_line_and_no_error(two, monkeypatch):
    address = f"grpc://127.0.0.1:{free_ports(1)[0]}"
    done = status(two, monkeypatch, "digits", "--servers", address)
    assert f"{address}: nothing listens there" in done.out
    (server,) = of_digits(two, monkeypatch, "--servers", address)["servers"]
    assert (server["answers"], server["live"]) == (False, None)


@pytest.mark.integration  # five seconds of waiting
def test_a_server_that_hangs_is_a_line_and_no_error(two, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        address = f"grpc://127.0.0.1:{deaf.getsockname()[1]}"
        done = status(two, monkeypatch, "digits", "--servers", address)
    assert f"{address}: did not answer within" in done.out


def test_every_model_with_the_serving_tag_is_shown_and_no_other(two, monkeypatch):
    two.registry.tag_model("digits", {"slipway.serving": "true"})
    two.version("letters")
    two.version("shapes")
    two.registry.tag_model("shapes", {"slipway.serving": "true"})
    found = json_of(status(two, monkeypatch, "--servers", "none", "--json"))["models"]
    assert [model["name"] for model in found] == ["digits", "shapes"]
    named = json_of(status(two, monkeypatch, "--servers", "none", "--json", "--models", "letters"))["models"]
    assert [model["name"] for model in named] == ["digits", "letters", "shapes"]
    assert named[1]["champion"] is None


def test_where_nothing_is_served_it_says_so(registered, monkeypatch):
    assert "no model is served" in status(registered, monkeypatch).out


def test_the_split_of_traffic_is_shown(two, monkeypatch):
    from serving.traffic import Traffic, traffic_config

    (two.base / "traffic.json").write_bytes(traffic_config(None, "digits", Traffic(95, 5)))
    done = status(two, monkeypatch, "digits", "--servers", "none")
    assert "traffic.json: stable 95 %, canary 5 %, copied to the canary 0 %" in done.out
    assert of_digits(two, monkeypatch, "--servers", "none")["traffic"]["canary"] == 5


def test_a_deployment_with_a_name_of_its_own_is_shown_beside_the_models(two, monkeypatch):
    from pipeline.plugin.records import Record, keep_record
    from serving.stores import open_store

    two.configured("trial", Wanted(2))
    keep_record(open_store(str(two.base)), "trial", Record("models:/digits/2", "digits"))
    two.registry.tag_model("digits", {"slipway.serving": "true"})
    shown = status(two, monkeypatch, "--servers", "none").out
    assert shown.split("\n\n")[1].splitlines() == [
        "trial: a deployment of models:/digits/2",
        "labels.config: 2 stable",
        "models.config: 2",
    ]
    found = json_of(status(two, monkeypatch, "trial", "--servers", "none", "--json"))
    assert (found["models"], found["deployments"][0]["labels"]) == ([], {"stable": 2})


def test_an_unknown_model_is_an_error(registered, monkeypatch):
    done = registered.call(monkeypatch, "status", "nope", "--servers", "none")
    assert done.code == 1
    assert "registered model 'nope' does not exist" in done.error
