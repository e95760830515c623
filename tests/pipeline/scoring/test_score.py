"""`slipway score` by processes: what it writes, what it refuses, and how it goes on."""

import errno
import json
import os
import signal
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.pipeline.scoring.conftest import check_rows, write_pictures
from tests.signed import make_keys


def test_every_image_of_a_folder_has_a_row_that_says_what_answered(scored, monkeypatch, tmp_path):
    said = write_pictures(tmp_path / "pictures", 70)
    (tmp_path / "pictures" / "00" / "notes.txt").write_text("no image")
    done = scored.score(monkeypatch, tmp_path / "pictures", "--part-images", "30", "--workers", "2")
    assert done.code == 0, done.err
    rows = scored.rows()
    check_rows(rows, said)
    version = scored.registry.version("digits", 1)
    assert {(row["model"], row["version"], row["servable_digest"], row["variant"]) for row in rows} == {
        ("digits", 1, version.tags["slipway.manifest_digest"], "onnx-fp32")
    }
    assert {row["label"] for row in rows} <= {"ant", "bee", "cat"}
    assert "70 images in 3 parts" in done.out


def test_a_run_that_finds_an_output_finished_says_so_and_writes_nothing(scored, monkeypatch, tmp_path):
    write_pictures(tmp_path / "pictures", 5)
    scored.score(monkeypatch, tmp_path / "pictures")
    before = {file.name: file.stat().st_mtime_ns for file in (scored.folder / "out").glob("part-*")}
    done = scored.score(monkeypatch, tmp_path / "pictures")
    assert done.code == 0
    assert "all of them were there before" in done.out
    assert {file.name: file.stat().st_mtime_ns for file in (scored.folder / "out").glob("part-*")} == before


def test_an_output_of_other_images_or_of_another_variant_or_version_is_refused(scored, monkeypatch, tmp_path):
    write_pictures(tmp_path / "pictures", 5)
    scored.score(monkeypatch, tmp_path / "pictures")
    scored.scored_version(1)
    for words, expected in (
        (("--version", "2"), "version 1"),
        (("--variant", "tensorflow-fp32"), "variant onnx-fp32"),
        (("--part-images", "7"), "images a part 500"),
        (("--runtime", "tensorflow"), "variant onnx-fp32"),
        (("--engine", "spark"), "variant onnx-fp32"),
    ):
        done = scored.score(monkeypatch, tmp_path / "pictures", *words)
        assert done.code == 2, done.out
        assert expected in done.error
        assert "Pass another --output" in done.error
    scored.registry.set_alias("digits", "champion", 2)
    done = scored.score(monkeypatch, tmp_path / "pictures")
    assert done.code == 2, done.out
    assert "or --version 1 to go on with it" in done.error
    assert scored.score(monkeypatch, tmp_path / "pictures", "--version", "1").code == 0
    scored.registry.set_alias("digits", "champion", 1)
    (tmp_path / "pictures" / "00" / "0000.png").unlink()
    done = scored.score(monkeypatch, tmp_path / "pictures")
    assert done.code == 2
    assert "other images" in done.error


def test_images_that_cannot_be_read_have_an_error_and_cost_no_other_its_row(scored, monkeypatch, tmp_path):
    said = write_pictures(tmp_path / "pictures", 40)
    paths = list(said)
    (tmp_path / "pictures" / paths[3]).write_bytes(b"no image at all")
    (tmp_path / "pictures" / paths[21]).chmod(0)
    whole = (tmp_path / "pictures" / paths[5]).read_bytes()
    (tmp_path / "pictures" / paths[5]).write_bytes(whole[: len(whole) // 2])
    list_of = tmp_path / "list.csv"
    list_of.write_text("path\n" + "".join(f"pictures/{path}\n" for path in paths) + "pictures/gone.png\n")
    done = scored.score(monkeypatch, list_of)
    assert done.code == 0, done.err
    rows = scored.rows()
    assert len(rows) == 41
    bad = {row["row"]: row["error"] for row in rows if row["error"]}
    assert set(bad) - {21} == {3, 5, 40}  # root may read anything
    assert "is no image" in bad[3]
    assert "No such file" in bad[40]
    good = [row for row in rows if not row["error"]]
    assert all(row["probabilities"] for row in good)
    assert all(row["label"] is None and row["probabilities"] is None for row in rows if row["error"])


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--engine", "dask"), "processes or spark"),
        (("--runtime", "fast"), "expected one of"),
        (("--variant", "openvino-int8"), "has variants onnx-fp32, tensorflow-fp32"),
        (("--workers", "0"), "1 or more"),
        (("--engine", "spark", "--variant", "onnx-fp32"), "runs the registered MLflow model"),
        (("--engine", "spark", "--require-signature", "--trusted-keys", "keys"), "runs what lies in a version's code/"),
    ],
)
def test_what_cannot_be_asked_for_is_said_before_anything_is_written(scored, monkeypatch, tmp_path, words, expected):
    write_pictures(tmp_path / "pictures", 2)
    keys = make_keys(tmp_path / "keys").trusted
    done = scored.score(monkeypatch, tmp_path / "pictures", *(keys if word == "keys" else word for word in words))
    assert done.code == 2, done.out
    assert expected in done.error
    assert not scored.rows()


def test_an_output_that_holds_other_things_is_left_alone(scored, monkeypatch, tmp_path):
    write_pictures(tmp_path / "pictures", 2)
    (scored.folder / "out").mkdir()
    (scored.folder / "out" / "thesis.tex").write_text("years")
    done = scored.score(monkeypatch, tmp_path / "pictures")
    assert done.code == 2
    assert "thesis.tex" in done.error
    assert not scored.rows()


@pytest.mark.parametrize("lost", [b"", b"PAR1", None])
def test_a_part_that_a_disk_has_lost_some_of_is_written_again_and_a_strange_one_stands_for_none(
    scored, monkeypatch, tmp_path, lost
):
    said = write_pictures(tmp_path / "pictures", 9)
    words = (tmp_path / "pictures", "--part-images", "3")
    scored.score(monkeypatch, *words)
    part = scored.folder / "out" / "part-00000001.parquet"
    before = part.read_bytes()
    part.write_bytes(before[:-9] + bytes(9) if lost is None else lost)
    (scored.folder / "out" / "part-00000007.parquet").write_bytes(before)
    done = scored.score(monkeypatch, *words)
    assert done.code == 0, done.err
    assert "by this run 3" in done.out
    (scored.folder / "out" / "part-00000007.parquet").unlink()
    check_rows(scored.rows(), said)


@pytest.mark.parametrize("plan", ['{"format": 2, "more": 1}', "[]", "{", None])
def test_a_plan_that_cannot_be_gone_on_with_is_refused(scored, monkeypatch, tmp_path, plan):
    write_pictures(tmp_path / "pictures", 3)
    scored.score(monkeypatch, tmp_path / "pictures")
    without_parts = json.dumps({**scored.plan(), "part_images": 0})
    (scored.folder / "out" / "_slipway_score.json").write_text(plan or without_parts)
    done = scored.score(monkeypatch, tmp_path / "pictures")
    assert done.code == 2, done.err
    assert ("is of format 2" if plan and "format" in plan else "its plan cannot be read") in done.error
    assert "Pass another --output" in done.error


def test_parts_are_not_written_among_the_parquet_that_is_scored(scored, monkeypatch, tmp_path):
    (tmp_path / "in.parquet").mkdir()
    image = (tmp_path / "pictures" / next(iter(write_pictures(tmp_path / "pictures", 1)))).read_bytes()
    pq.write_table(pa.table({"image_bytes": [image]}), tmp_path / "in.parquet" / "1.parquet")
    done = scored.score(monkeypatch, tmp_path / "in.parquet", output=str(tmp_path / "in.parquet" / "out"))
    assert done.code == 2
    assert "lies in --input" in done.error
    assert not (tmp_path / "in.parquet" / "out").exists()
    assert scored.score(monkeypatch, tmp_path / "in.parquet", output=str(tmp_path / "in.parquet.out")).code == 0


def test_a_disk_without_room_for_what_a_run_needs_is_said_and_not_a_traceback(scored, monkeypatch, tmp_path):
    write_pictures(tmp_path / "pictures", 2)
    (scored.folder / "full").symlink_to("/dev/full")
    done = scored.score(monkeypatch, tmp_path / "pictures", "--workdir", "full")
    assert done.code == 1
    assert "--workdir" in done.error
    monkeypatch.setattr("fcntl.flock", no_locks)
    done = scored.score(monkeypatch, tmp_path / "pictures")
    assert done.code == 1
    assert "No locks available" in done.error


def no_locks(*_):
    raise OSError(errno.ENOLCK, "No locks available")


def test_two_runs_at_once_to_one_output_are_one_too_many(scored, monkeypatch, tmp_path):
    from pipeline.scoring.output import open_output

    write_pictures(tmp_path / "pictures", 2)
    with open_output(str(scored.folder / "out")).held():
        done = scored.score(monkeypatch, tmp_path / "pictures")
    assert done.code == 1
    assert "another run writes there" in done.error


@pytest.mark.integration
def test_a_run_that_is_killed_is_gone_on_with_and_no_row_is_lost_or_doubled(scored, monkeypatch, tmp_path):
    said = write_pictures(tmp_path / "pictures", 300)
    words = scored.words(tmp_path / "pictures", "--part-images", "5", "--workers", "2")
    process = scored.start(*words)
    while len(list((scored.folder / "out").glob("part-*"))) < 5:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    there = len(scored.rows())
    assert 0 < there < 300
    time.sleep(1)  # for the processes that it had started: nobody tells them
    assert len(scored.rows()) - there <= 10
    done = scored.run(*words)
    assert done.code == 0, done.err
    assert "are left" in done.err
    check_rows(scored.rows(), said)
    assert not list((scored.folder / "out").glob(".part-*"))


@pytest.mark.integration
def test_a_run_that_is_stopped_ends_soon_with_its_processes_and_says_how_to_go_on(scored, monkeypatch, tmp_path):
    import psutil

    write_pictures(tmp_path / "pictures", 300)
    words = scored.words(tmp_path / "pictures", "--part-images", "5", "--workers", "2")
    process = scored.start(*words)
    while not list((scored.folder / "out").glob("part-*")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    started = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    done = scored.finish(process)
    assert done.code == 130, done.err
    assert "Start it again" in done.error
    assert psutil.wait_procs(started, timeout=30)[1] == []
    assert scored.run(*words).code == 0


@pytest.mark.integration
def test_a_process_that_is_killed_ends_the_run_and_the_next_one_finishes_it(scored, monkeypatch, tmp_path):
    import psutil

    said = write_pictures(tmp_path / "pictures", 300)
    words = scored.words(tmp_path / "pictures", "--part-images", "5", "--workers", "2")
    process = scored.start(*words)
    while len(list((scored.folder / "out").glob("part-*"))) < 3:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    scoring = [each for each in psutil.Process(process.pid).children() if "spawn_main" in " ".join(each.cmdline())]
    scoring[0].kill()
    done = scored.finish(process)
    assert done.code == 1, done.err
    assert "was killed" in done.error
    assert "Run the same command again" in done.error
    assert scored.run(*words).code == 0
    check_rows(scored.rows(), said)


def test_from_a_bucket_to_a_bucket_it_is_the_same(scored, monkeypatch, tmp_path, s3_server):
    import io

    import pyarrow.parquet as pq

    said = write_pictures(tmp_path / "pictures", 30)
    base = s3_server.bucket_for(tmp_path)
    bucket = base.removeprefix("s3://").partition("/")[0]
    for path in said:
        s3_server.client.put_object(
            Bucket=bucket, Key=f"pictures/{path}", Body=(tmp_path / "pictures" / path).read_bytes()
        )
    words = (f"s3://{bucket}/pictures", "--part-images", "20")
    done = scored.score(monkeypatch, *words, output=f"s3://{bucket}/scored")
    assert done.code == 0, done.err
    s3_server.client.delete_object(Bucket=bucket, Key="scored/part-00000001.parquet")
    done = scored.score(monkeypatch, *words, output=f"s3://{bucket}/scored")
    assert done.code == 0, done.err
    assert "by this run 10" in done.out
    keys = [each["Key"] for each in s3_server.client.list_objects_v2(Bucket=bucket, Prefix="scored/part")["Contents"]]
    bodies = [s3_server.client.get_object(Bucket=bucket, Key=key)["Body"].read() for key in sorted(keys)]
    check_rows([row for body in bodies for row in pq.read_table(io.BytesIO(body)).to_pylist()], said)


def test_parquet_in_a_bucket_is_read_there_by_the_processes_that_score_it(scored, monkeypatch, tmp_path, s3_server):
    said = write_pictures(tmp_path / "pictures", 30)
    images = [(tmp_path / "pictures" / path).read_bytes() for path in said]
    pq.write_table(pa.table({"path": list(said), "image_bytes": images}), tmp_path / "1.parquet", row_group_size=7)
    bucket = s3_server.bucket_for(tmp_path).removeprefix("s3://").partition("/")[0]
    s3_server.client.put_object(Bucket=bucket, Key="a b/ü.parquet", Body=(tmp_path / "1.parquet").read_bytes())
    words = (f"s3://{bucket}/a b/ü.parquet", "--part-images", "10")
    done = scored.score(monkeypatch, *words, "--workers", "2")
    assert done.code == 0, done.err
    check_rows(scored.rows(), said)
    (scored.folder / "out" / "part-00000001.parquet").unlink()
    done = scored.score(monkeypatch, *words, "--workers", "1")
    assert done.code == 0, done.err
    assert "by this run 10" in done.out
    check_rows(scored.rows(), said)
