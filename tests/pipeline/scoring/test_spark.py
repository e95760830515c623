"""`slipway score --engine spark`: a real Spark on this machine, with two workers, writes what processes write."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from slipway.errors import ConflictError, UnavailableError
from tests.pipeline.scoring.conftest import write_pictures

TIMEOUT_S = 900  # some twenty seconds on an idle machine; a busy one starves it


def test_what_our_code_says_inside_a_task_is_what_the_command_says():
    pytest.importorskip("pyspark")
    from pyspark.errors import PySparkException

    from pipeline.scoring.spark import _spark_errors

    told = "Traceback:\n  in a task\nslipway.errors.UnavailableError: s3://pets/1.png: refused. Stop.\n"
    with pytest.raises(UnavailableError, match=r"^s3://pets/1\.png: refused\. Stop\.$"), _spark_errors():
        raise PySparkException(message=told)
    with pytest.raises(UnavailableError, match=r"^Spark: no room.*finished parts are kept"), _spark_errors():
        raise PySparkException(message="no room")
    of_a_cause = told + "The above exception was the direct cause of another:\nslipway.errors.ConflictError: changed.\n"
    with pytest.raises(ConflictError, match=r"^changed\.$"), _spark_errors():
        raise PySparkException(message=of_a_cause)
    with pytest.raises(UnavailableError, match=r"^s3://out: refused\.$"), _spark_errors():
        raise PySparkException(message="serving.stores.s3_errors.DeniedError: s3://out: refused.\n  at Java")


@pytest.mark.integration
@pytest.mark.timeout(3 * TIMEOUT_S)
def test_spark_says_what_processes_say_passes_over_a_bad_image_and_goes_on_where_it_was_stopped(
    scored, monkeypatch, tmp_path
):
    paths = list(write_pictures(tmp_path / "pictures", 300))
    (tmp_path / "pictures" / paths[7]).write_bytes(b"no image")
    by_processes = scored.score(monkeypatch, tmp_path / "pictures", output="processes")
    assert by_processes.code == 0, by_processes.err
    words = scored.words(tmp_path / "pictures", "--engine", "spark", "--part-images", "50", "--workers", "2")
    done = scored.run(*words, timeout_s=TIMEOUT_S)
    assert done.code == 0, done.err
    rows, expected = scored.rows(), scored.rows("processes")
    for row, same in zip(rows, expected, strict=True):
        assert row["variant"] == "tensorflow-fp32"  # what the logged model runs
        assert {**row, "probabilities": 0, "variant": 0} == {**same, "probabilities": 0, "variant": 0}
        if row["error"] is None:
            np.testing.assert_allclose(row["probabilities"], same["probabilities"], atol=1e-6)
    assert [row["row"] for row in rows if row["error"]] == [7]

    files = sorted((scored.folder / "out").glob("part-*"))
    kept = {file: file.stat().st_mtime_ns for file in files[:3]}
    for file in files[3:]:
        file.unlink()
    again = scored.run(*words, timeout_s=TIMEOUT_S)
    assert again.code == 0, again.err
    assert {file: file.stat().st_mtime_ns for file in files[:3]} == kept
    assert scored.rows() == rows


@pytest.mark.integration
@pytest.mark.timeout(3 * TIMEOUT_S)
def test_on_spark_parquet_is_read_where_it_is_scored_and_its_rows_are_those_of_processes(scored, monkeypatch, tmp_path):
    paths = list(write_pictures(tmp_path / "pictures", 100))
    images = [(tmp_path / "pictures" / path).read_bytes() for path in paths]
    images[7], images[8] = b"no image", None
    table = pa.table({"image_bytes": images, "id": paths})
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=30)  # no part begins where a group does, but one
    by_processes = scored.score(monkeypatch, tmp_path / "in.parquet", "--part-images", "20", output="processes")
    assert by_processes.code == 0, by_processes.err
    words = scored.words(tmp_path / "in.parquet", "--engine", "spark", "--part-images", "20", "--workers", "2")
    done = scored.run(*words, timeout_s=TIMEOUT_S)
    assert done.code == 0, done.err
    rows, expected = scored.rows(), scored.rows("processes")
    assert [row["image"] for row in rows] == paths
    assert [row["row"] for row in rows if row["error"]] == [7, 8]
    for row, same in zip(rows, expected, strict=True):
        assert {**row, "probabilities": 0, "variant": 0} == {**same, "probabilities": 0, "variant": 0}

    (scored.folder / "out" / "part-00000003.parquet").unlink()
    again = scored.run(*words[:-1], "1", timeout_s=TIMEOUT_S)
    assert again.code == 0, again.err
    assert "by this run 20" in again.out
    assert scored.rows() == rows
