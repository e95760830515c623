"""Answers over real sockets come into the prediction log, with who asked and what feedback said."""

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from serving.model_server.flag_parsing import parse_flags
from serving.model_server.logged import embeddings
from serving.model_server.metrics import Metrics
from serving.model_server.metrics_page import metrics_page
from serving.prediction_log.clients import client_digest, client_key
from serving.prediction_log.reading import read_records
from serving.prediction_log.rules import LogRules
from serving.prediction_log.writing import PredictionLog
from slipway.errors import InputError
from tests.serving.model_server.fakes import eventually, signature
from tests.serving.model_server.split_world import FAILS, REFUSED, two_versions


class Kept:
    """A world and its log."""

    def __init__(self, world, folder):
        self.world, self.folder = world, folder

    def rows(self, count):
        eventually(lambda: len(read_records(self.folder, "m")) >= count)
        return read_records(self.folder, "m").to_pylist()


@pytest.fixture
def kept(tmp_path):
    log = PredictionLog(tmp_path / "log", LogRules())
    log.start()
    with two_versions(tmp_path / "world", log=log) as world:
        yield Kept(world, tmp_path / "log")
    log.close()


def test_answers_of_every_kind_are_logged_by_what_their_headers_say(kept):
    kept.world.split(canary=100, key_header="x-user")
    _, headers, _ = kept.world.ask(1.0, 2.0, x_user="ada")
    _, by_label, _ = kept.world.ask(3.0, where="/labels/stable")
    _, metadata = kept.world.call(0.0, metadata=(("x-user", "ada"),))
    rows = kept.rows(4)
    assert [row["request_id"] for row in rows] == [
        headers["x-slipway-request-id"],
        headers["x-slipway-request-id"],
        by_label["x-slipway-request-id"],
        metadata["x-slipway-request-id"],
    ]
    assert [(row["row"], row["class_id"], row["version"], row["label"]) for row in rows] == [
        (0, 2, 2, "canary"),
        (1, 3, 2, "canary"),
        (0, 3, 1, "stable"),
        (0, 1, 2, "canary"),
    ]
    assert {row["digest"] for row in rows} == set(kept.world.digests.values())
    assert {row["variant"] for row in rows} == {"tiny"}
    assert all(0 < row["latency_ms"] < 10_000 for row in rows)
    ada = client_digest(client_key(kept.folder), "ada")
    assert [row["client"] for row in rows] == [ada, ada, None, ada]


def test_what_failed_was_refused_or_names_no_class_is_not_logged(kept):
    assert kept.world.ask(FAILS)[0] == 500
    assert kept.world.ask(REFUSED)[0] == 400
    assert kept.world.ask(body='{"signature_name": "both", "instances": [1.0]}')[0] == 200
    kept.world.ask(1.0)
    (row,) = kept.rows(1)
    assert row["class_id"] == 1


def test_feedback_by_names_and_ids_joins_its_records(kept):
    _, headers, _ = kept.world.ask(1.0, 2.0)
    request_id = headers["x-slipway-request-id"]
    assert kept.world.feedback({"request_id": request_id, "labels": ["ant", 3]})[1]["attached"] == 1
    eventually(lambda: [row["true_class"] for row in kept.rows(2)] == [0, 3])
    assert kept.world.feedback({"request_id": request_id, "labels": ["no", "such"]})[0] == 400
    kept.world.feedback({"request_id": request_id, "labels": ["dog", "dog"]})
    eventually(lambda: [row["true_class"] for row in kept.rows(2)] == [3, 3])


def test_the_share_asked_for_is_logged(tmp_path):
    log = PredictionLog(tmp_path / "log", LogRules())
    log.start()
    with two_versions(tmp_path / "world", log=log, sample=0.2) as world, world.client() as client:
        for _ in range(300):
            client.ask(1.0)
    log.close()
    assert 30 < len(read_records(tmp_path / "log", "m")) < 95
    assert log.counts().dropped == 0


def test_metrics_say_what_was_written_dropped_and_is_kept(kept):
    metrics = Metrics()
    page = metrics_page(metrics, kept.world.models, CollectorRegistry())
    assert b"slipway_prediction_log" not in page()
    metrics.log_counts = kept.world.log.counts
    assert b"\nslipway_prediction_log_oldest_timestamp_seconds " not in page()
    kept.world.ask(1.0, 2.0)
    kept.rows(2)
    kept.world.log.close()
    text = page().decode()
    assert "slipway_prediction_log_records_total 2.0" in text
    assert "slipway_prediction_log_dropped_total 0.0" in text
    values = dict(line.split(" ") for line in text.splitlines() if line.startswith("slipway_prediction_log"))
    assert float(values["slipway_prediction_log_bytes"]) > 1000
    first = read_records(kept.folder, "m")["time"][0].as_py().timestamp()
    assert float(values["slipway_prediction_log_oldest_timestamp_seconds"]) == pytest.approx(first)


def test_embeddings_of_a_version_that_has_none_or_is_gone_are_none(kept):
    inputs = {"image_bytes": np.array([b"x"], object)}
    assert embeddings(kept.world.models, "m", 1, inputs) is None
    assert embeddings(kept.world.models, "m", 9, inputs) is None
    assert embeddings(kept.world.models, "other", 1, inputs) is None


def test_embeddings_are_asked_of_the_version_that_answered(kept, monkeypatch):
    lease = kept.world.models.named("m").acquire(2)
    embed = signature({"input": ("float", [-1, 2, 2, 3])}, {"embedding": ("float", [-1, 1])})
    monkeypatch.setattr(lease.runtime, "signatures", {**lease.runtime.signatures, "serving_embed_pixels": embed})
    means = {"serving_embed_pixels": lambda inputs: {"embedding": inputs["input"].mean((1, 2, 3))[:, np.newaxis]}}
    monkeypatch.setattr(lease.runtime, "run", lambda name, inputs, _outputs: means[name](inputs))
    found = embeddings(kept.world.models, "m", 2, {"input": np.full((3, 2, 2, 3), 5, np.float32)})
    assert found.tolist() == [[5.0]] * 3


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("--prediction_log_sample=1.5", "expected a share from 0 to 1"),
        ("--prediction_log_embed_sample=-1", "expected a share from 0 to 1"),
        ("--prediction_log_inputs=all", "expected one of none, digest, pixels"),
        ("--prediction_log_max_mb=0", "expected 1 or more"),
        ("--prediction_log_days=0", "expected more than 0"),
    ],
)
def test_flags_of_the_log_are_held_to_their_ranges(tmp_path, given, message):
    with pytest.raises(InputError, match=message):
        parse_flags([f"--model_base_path={tmp_path}", "--prediction_log=log", given])


def test_a_flag_of_the_log_without_the_log_is_an_error(tmp_path):
    with pytest.raises(InputError, match="--prediction_log_days is set without --prediction_log"):
        parse_flags([f"--model_base_path={tmp_path}", "--prediction_log_days=3"])
