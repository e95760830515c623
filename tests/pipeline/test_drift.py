"""`slipway drift`: the champion's traffic, as the prediction log has it, against its held-out images."""

import http.client
import json
import os
import re
import signal
import time

import numpy as np
import pytest

from pipeline.config import load_config
from pipeline.drift.watching import ServedDriftTurn
from serving.prediction_log.reading import read_records
from tests.pipeline.drift_world import NAME, SMALL, reference_of
from tests.pipeline.lifecycle_world import json_of
from tests.serving.model_server.processes import model_server
from tests.serving.model_server.servables import SIZE

WITH_A_RUN = pytest.mark.integration  # seconds for an MLflow run with pictures
MEASURES = {"class_mix", "confidence", "embedding", "brightness", "sharpness", "size", "accuracy"}


def drift(world, patch, *words):
    return world.call(patch, "drift", NAME, *SMALL, *words)


def tags(world):
    return world.registry.version(NAME, 1).tags


@WITH_A_RUN
def test_traffic_like_the_held_out_images_is_no_drift(drifting, monkeypatch):
    drifting.champion()
    drifting.asked(500, labelled=True)
    done = drift(drifting, monkeypatch, "--exit-code", "--json")
    assert done.code == 0, done.err
    report = json_of(done)
    assert (report["status"], report["found"], report["enough"]) == ("none", False, True)
    assert set(report["measures"]) == MEASURES
    assert {name: each["of"] for name, each in report["measures"].items()} == dict.fromkeys(MEASURES, 5)


@WITH_A_RUN
def test_traffic_of_another_kind_is_drift_with_exit_code_3_where_it_is_asked_for(drifting, monkeypatch):
    drifting.champion()
    drifting.asked(500, shift=1, labelled=True)
    done = drift(drifting, monkeypatch, "--exit-code")
    assert done.code == 3, done.err
    assert done.out.startswith("digits version 1: drift found in 5 windows of 100 records: confidence (5 of 5 windows)")


@WITH_A_RUN
def test_the_champion_is_tagged_with_the_finding_and_what_was_measured(drifting, monkeypatch):
    drifting.champion()
    drifting.asked(500, shift=1)
    done = drift(drifting, monkeypatch, "--json")
    assert done.code == 0  # a finding is no failure
    report = json_of(done)
    found = tags(drifting)
    assert (found["slipway.drift"], found["slipway.drift_run"]) == ("found", report["run_id"])
    assert found["slipway.drift_time"] == report["time"]
    measures = json.loads(found["slipway.drift_measures"])
    assert set(measures) == MEASURES - {"accuracy"}  # no labels came
    assert set(measures["brightness"]) == {"statistic", "p", "found_in", "of"}
    assert measures["brightness"]["found_in"] == measures["brightness"]["of"] == 5


@WITH_A_RUN
def test_a_check_is_a_run_with_its_numbers_and_pictures(drifting, monkeypatch):
    drifting.champion()
    drifting.asked(500, shift=1)
    report = json_of(drift(drifting, monkeypatch, "--json"))
    run = drifting.mlflow.get_run(report["run_id"])
    assert (run.info.status, run.data.tags["slipway.step"], run.data.tags["slipway.drift"]) == (
        "FINISHED",
        "drift",
        "found",
    )
    assert run.data.metrics["drift_found"] == 1
    assert run.data.metrics["brightness_difference"] == report["measures"]["brightness"]["statistic"]
    files = {file.path for file in drifting.mlflow.list_artifacts(report["run_id"])}
    assert files == {"drift.json", "class_mix.png", "distributions.png", "embeddings.png"}


@WITH_A_RUN
def test_drift_of_the_last_three_of_five_windows_is_found_and_of_two_is_not(drifting, monkeypatch):
    drifting.champion()
    drifting.asked(300, ago_s=60)
    drifting.asked(200, shift=1, ago_s=30)
    assert json_of(drift(drifting, monkeypatch, "--json"))["status"] == "none"
    drifting.asked(100, shift=1)
    assert json_of(drift(drifting, monkeypatch, "--json"))["status"] == "found"


def test_with_too_few_records_drift_is_unknown_and_the_missing_ones_are_counted(drifting, monkeypatch):
    drifting.champion()
    drifting.asked(120, shift=1)
    done = drift(drifting, monkeypatch, "--exit-code")
    assert (done.code, done.out) == (
        0,
        "digits version 1: drift unknown: 120 records of 300, 180 are missing\n",
    )
    assert tags(drifting)["slipway.drift"] == "unknown"
    assert tags(drifting)["slipway.drift_run"] == ""


def test_records_of_other_versions_and_old_ones_do_not_count(drifting, monkeypatch):
    drifting.champion()
    drifting.asked(500, shift=1, version=2)
    drifting.asked(500, shift=1, ago_s=7200)
    report = json_of(drift(drifting, monkeypatch, "--json", "--max-age-s", "3600"))
    assert (report["status"], report["records"], report["missing"]) == ("unknown", 0, 300)


@WITH_A_RUN
def test_ten_times_the_traffic_is_no_drift(drifting, monkeypatch):
    drifting.champion()
    drifting.asked(250, every_s=10, ago_s=25)
    drifting.asked(250, every_s=0.01)
    assert json_of(drift(drifting, monkeypatch, "--json"))["status"] == "none"


@WITH_A_RUN
def test_what_is_not_in_the_log_is_not_measured_and_never_found(drifting, monkeypatch):
    drifting.champion()
    drifting.asked(500, shift=1, bare=True)
    measures = json_of(drift(drifting, monkeypatch, "--json"))["measures"]
    assert {name for name, each in measures.items() if each["of"]} == {"class_mix", "confidence"}
    assert measures["embedding"]["note"] == "not measured: 0 embeddings in the window, of at least 50"
    assert not measures["embedding"]["found"]


@WITH_A_RUN
def test_a_loss_of_accuracy_where_labels_came_back_is_found_with_its_interval(drifting, monkeypatch):
    drifting.champion()
    drifting.asked(500, shift=1, labelled=True)
    accuracy = json_of(drift(drifting, monkeypatch, "--json"))["measures"]["accuracy"]
    assert accuracy["found"]
    assert re.fullmatch(r"0\.\d{3} \(0\.\d{3} to 0\.\d{3}, 100 labels\), reference 0\.9\d\d", accuracy["note"])


def test_a_champion_without_reference_statistics_names_the_remedy(drifting, monkeypatch):
    drifting.reference = None
    drifting.champion()
    drifting.asked(500)
    done = drift(drifting, monkeypatch)
    assert done.code == 2
    assert "Train, register and promote a version with them" in done.error


def test_reference_statistics_that_were_changed_are_refused(drifting, monkeypatch):
    version = drifting.champion()
    drifting.asked(500)
    path = drifting.registry.local_directory(version) / "servable" / "reference" / "reference.npz"
    path.write_bytes(path.read_bytes() + b"\0")
    done = drift(drifting, monkeypatch)
    assert done.code == 1
    assert "reference/reference.npz is not the registered one" in done.error


def test_a_log_that_is_not_there_is_said(drifting, monkeypatch):
    drifting.champion()
    done = drift(drifting, monkeypatch, "--prediction-log", "elsewhere")
    assert done.code == 1
    assert "elsewhere: no such folder; expected a prediction log" in done.error


@pytest.mark.parametrize("words", [("--once",), ("--json",), ("--exit-code",)])
def test_watching_excludes_what_is_of_one_check(drifting, monkeypatch, words):
    assert drift(drifting, monkeypatch, "--watch", *words).code == 2


@pytest.mark.parametrize("words", [("--served",), (NAME, "--watch", "--served")])
def test_what_is_served_is_for_watching_alone_and_takes_no_name(drifting, monkeypatch, words):
    done = drifting.call(monkeypatch, "drift", *SMALL, *words)
    assert done.code == 2
    assert "expected `slipway drift --watch --served`" in done.error


def test_watching_what_is_served_checks_each_champion_and_goes_on_where_one_cannot_be(drifting, monkeypatch):
    drifting.champion()
    drifting.asked(40)
    drifting.version("young")  # no champion yet
    drifting.reference = None
    drifting.made_live(drifting.version("before"))
    drifting.made_live(drifting.version("other"))  # nobody asks reconcile to serve it
    for name in ("before", "young"):
        drifting.mlflow.set_registered_model_tag(name, "slipway.serving", "true")
    monkeypatch.setattr("mlflow.tracking._tracking_service.utils._tracking_uri", None, raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", drifting.uri)
    config = load_config(None, {"name": NAME, "prediction_log": str(drifting.log)})
    text = ServedDriftTurn(config).one_pass().text
    first, second = text.split("; ", 1)
    assert first.startswith("before: not checked: before version 1 has no reference statistics")
    assert second == "digits version 1: drift unknown: 40 records of 1500, 1460 are missing"
    assert tags(drifting)["slipway.drift"] == "unknown"


@pytest.mark.integration  # a process that imports MLflow
def test_watching_says_what_is_new_until_it_is_stopped(drifting):
    drifting.champion()
    drifting.asked(500)
    process = drifting.start("drift", NAME, *SMALL, "--watch", "--check-interval-s", "1")
    lines = []
    while not any("drift found" in line for line in lines):
        line = process.stderr.readline()
        assert line, lines
        lines.append(line)
        if "no drift" in line:
            drifting.asked(500, shift=1)
    os.kill(process.pid, signal.SIGTERM)
    done = drifting.finish(process)
    assert done.code == 0
    assert "stopped" in done.err


@pytest.mark.integration  # a server
def test_what_a_running_server_has_logged_is_checked(drifting, monkeypatch, tmp_path):
    random = np.random.default_rng(0)

    def images(count, light=1.0):
        return (random.integers(0, 256, (count, *SIZE, 3)) * light).astype(np.uint8)

    drifting.reference, drifting.variants = reference_of(images(400)), {"onnx-fp32": 90.0}
    drifting.published(monkeypatch, drifting.champion())
    place = (f"--model_base_path={drifting.base / NAME}", f"--model_name={NAME}", "--runtime=onnxruntime")
    with model_server(tmp_path / "log", *place, f"--prediction_log={drifting.log}") as server:
        server.wait_ready()
        for light, status, count in ((1.0, "none", 500), (0.6, "found", 1000)):
            for waiting in range(450, -1, -50):  # as many as are looked at on a machine that has other work, too
                ask(server, images(50, light))
                wait_until_logged(drifting.log, count - waiting)
            report = json_of(drift(drifting, monkeypatch, "--json"))
            assert (report["status"], report["records"]) == (status, 500)
    measures = report["measures"]
    assert {name for name, each in measures.items() if each["found"]} >= {"brightness", "confidence", "sharpness"}


def wait_until_logged(log, count):
    """Until so many records are there, and what was worked out of their images, off the requests' path."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        records = read_records(log, NAME)
        if len(records) - records["brightness"].null_count >= count:
            return
        time.sleep(0.1)
    raise AssertionError(f"{len(records)} records after a minute, {records['brightness'].null_count} without more")


def ask(server, pixels):
    connection = http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=30)
    connection.request("POST", f"/v1/models/{NAME}:predict", json.dumps({"instances": pixels.tolist()}))
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    connection.close()
