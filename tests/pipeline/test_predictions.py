"""`slipway predictions`: the log as a person reads and shortens it."""

import json
import tracemalloc

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from pipeline.cli import main
from pipeline.config import load_config
from pipeline.predictions import summary
from pipeline.serve import Listen, _log_flag, serve
from serving.prediction_log.reading import Window
from serving.prediction_log.rotation import write_rotated
from serving.prediction_log.rules import LogRules
from serving.prediction_log.schema import RECORDS
from slipway.errors import InputError
from tests.serving.prediction_log.answers import START_US, answer, written


def run(*words, code=0):
    result = CliRunner().invoke(main, ["predictions", *map(str, words)], prog_name="slipway")
    assert result.exit_code == code, result.output
    return result.output if "--json" not in words else json.loads(result.stdout)


@pytest.fixture
def folder(tmp_path):
    """Answers 0 to 9 of `m`, the odd ones by version 2; those of `ada` are every third."""
    with written(tmp_path / "log") as log:
        for number in range(10):
            log.offer(answer(number, version=1 + number % 2, client="bob" if number % 3 else "ada"))
            if number < 4:
                log.labelled("m", answer(number).request_id, (number % 4 if number else 3,))
    return tmp_path / "log"


def test_the_last_rows_are_listed(folder):
    rows = run("list", "m", "--prediction-log", folder, "--limit", 3, "--json")
    assert [row["request_id"][-1] for row in rows] == ["7", "8", "9"]
    assert rows[0]["confidence"] == pytest.approx(0.7)
    assert "1-none-0000000000000009" in run("list", "m", "--prediction-log", folder)


def test_each_versions_answers_are_summed_up(folder):
    first, second = run("summary", "m", "--prediction-log", folder, "--json")
    assert (first["version"], first["records"], first["labelled"], first["accuracy"]) == (1, 5, 2, 0.5)
    assert (second["version"], second["records"], second["labelled"], second["accuracy"]) == (2, 5, 2, 1.0)
    assert first["confidence"] == pytest.approx(0.7)
    assert run("summary", "other", "--prediction-log", folder, "--json") == []
    assert run("summary", "m", "--prediction-log", folder, "--version", 2, "--json") == [second]
    assert run("summary", "m", "--prediction-log", folder, "--until", "2020-01-01", "--json") == []


def test_a_log_is_summed_up_with_one_file_in_memory_and_no_list_of_its_requests(tmp_path, monkeypatch):
    files, rows, width = 12, 500, 500
    (tmp_path / "m").mkdir()
    for place in range(files):
        ids = [f"{place}-{number}" for number in range(rows)]
        table = pa.table(
            {
                "request_id": ids,
                "row": pa.array([0] * rows, pa.int32()),
                "time": pa.array([START_US + place] * rows, pa.timestamp("us", tz="UTC")),
                "version": [1] * rows,
                "label": ["stable"] * rows,
                "embedding": pa.array([[0.5] * width if number % 2 else None for number in range(rows)]),
                "client": pa.nulls(rows, pa.string()),
            }
        )
        write_rotated(tmp_path / "m", RECORDS, f"{place:016x}-000001", table)
    del table
    in_memory, real = [], pq.ParquetFile
    monkeypatch.setattr(pq, "ParquetFile", lambda path: in_memory.append(pa.total_allocated_bytes()) or real(path))
    config = load_config(None, {"prediction_log": str(tmp_path), "name": "m"})
    summary(config, Window())
    tracemalloc.start()
    (found,) = summary(config, Window())
    listed_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (found["records"], found["embeddings"], found["confidence"]) == (files * rows, files * rows // 2, None)
    # A file's embeddings, and as much again for reading them; all of them take four times the limit.
    assert max(in_memory) - in_memory[0] < files // 4 * rows // 2 * width * 8
    assert listed_bytes < files * rows * 50  # a text in a list takes more


def test_a_clients_records_are_deleted_by_the_key(folder):
    assert run("delete-client", "--client", "ada", "--prediction-log", folder, "--json") == {
        "records": 4,
        "feedback": 2,
        "files": 2,
        "held": 0,
    }
    rows = run("list", "m", "--prediction-log", folder, "--json")
    assert [int(row["request_id"][-1]) % 3 for row in rows] == [1, 2] * 3


def test_a_key_of_the_hashes_that_is_not_the_servers_is_refused(folder, tmp_path):
    words = ("delete-client", "--client", "ada", "--prediction-log", folder)
    (tmp_path / "key").write_text("0123456789abcdef" * 2)
    assert "expected the key that the server has" in run(*words, "--key-file", tmp_path / "key", code=2)
    assert len(run("list", "m", "--prediction-log", folder, "--json")) == 10
    with written(folder, LogRules(key_file=tmp_path / "key")) as log:  # the server has a new key now
        log.offer(answer(20, client="ada"))
    assert run(*words, "--key-file", tmp_path / "key", "--json")["records"] == 1
    assert run(*words, "--json")["records"] == 4


def test_the_log_is_shortened_by_age_and_by_size(folder):
    assert "0 files" in run("prune", "--days", 1, "--prediction-log", folder)
    assert run("prune", "--max-mb", 0, "--prediction-log", folder, "--json")["files"] == 2
    assert run("list", "m", "--prediction-log", folder, "--json") == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["list", "m"], "no prediction log is named"),
        (["list", "m", "--prediction-log", "/nowhere"], "no such folder; expected a prediction log"),
        (["list", "m", "--since", "yesterday"], "--since yesterday: expected a day or a time"),
        (["delete-client"], "--client is missing"),
        (["prune"], "expected --max-mb, --days or both"),
    ],
)
def test_what_is_missing_or_wrong_is_said(words, message):
    assert message in run(*words, code=1 if "/nowhere" in words else 2)


def test_serve_passes_the_log_to_the_embedded_server_and_refuses_it_for_another(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = load_config(None, {"prediction_log": "log"})
    assert _log_flag(config, "embedded") == (f"--prediction_log={tmp_path / 'log'}",)
    assert _log_flag(load_config(None, {}), "mlflow") == ()
    with pytest.raises(InputError, match="prediction_log log: target mlflow writes none"):
        serve(config, "mlflow", Listen("127.0.0.1", 0, 0))
