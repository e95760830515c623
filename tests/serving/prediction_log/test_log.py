"""What was answered is read again: from journals and from parquet, with what came of it later."""

import json
import stat
import subprocess
import sys
import threading
import time
import weakref
from datetime import UTC, datetime, timedelta
from itertools import cycle

import numpy as np
import pyarrow.parquet as pq
import pytest

from serving.prediction_log import writing
from serving.prediction_log.clients import client_digest, client_key
from serving.prediction_log.deleting import delete_client
from serving.prediction_log.places import journals, model_folder, rotated, size_bytes
from serving.prediction_log.reading import Window, read_last, read_records
from serving.prediction_log.retention import now_us, prune
from serving.prediction_log.rules import DAY_S, DIGEST, PIXELS, LogRules
from serving.prediction_log.schema import FEEDBACK, RECORDS, rotated_schema
from serving.prediction_log.waiting import Waiting
from serving.prediction_log.writing import PredictionLog
from serving.servable.image_properties import properties
from slipway.errors import InputError
from tests.serving.model_server.fakes import eventually
from tests.serving.prediction_log.answers import SIZE, START_US, answer, encoded, png, written

PIXELS_SEEN = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)


def read(folder, **chosen):
    return read_records(folder, "m", **chosen).to_pylist()


def test_a_record_says_what_was_asked_and_answered(tmp_path):
    with written(tmp_path) as log:
        log.offer(answer(5, images=2, client="ada"))
    first, second = read(tmp_path)
    assert first.pop("probabilities") == pytest.approx([0.1, 0.7, 0.1, 0.1])
    assert first.pop("confidence") == pytest.approx(0.7)
    assert first == {
        "time": datetime.fromtimestamp((START_US + 5000) / 1e6, UTC),
        "request_id": "1-none-0000000000000005",
        "row": 0,
        "model": "m",
        "version": 1,
        "label": "stable",
        "digest": "d",
        "signature": "serving_bytes",
        "variant": "openvino-int8",
        "latency_ms": 2.5,
        "class_id": 1,
        "embedding": None,
        "brightness": None,
        "sharpness": None,
        "width": None,
        "height": None,
        "client": client_digest(client_key(tmp_path), "ada"),
        "input_digest": None,
        "pixels": None,
        "true_class": None,
    }
    assert (second["row"], second["class_id"]) == (1, 2)


def test_records_are_read_while_the_server_runs_and_the_same_after_it_ended(tmp_path):
    with written(tmp_path) as log:
        for number in range(50):
            log.offer(answer(number, images=1 + number % 2))
        eventually(lambda: len(read(tmp_path)) == 75)
        while_it_runs = read_records(tmp_path, "m")
        assert journals(tmp_path / "m")
    assert not journals(tmp_path / "m")
    assert read_records(tmp_path, "m").equals(while_it_runs)
    (file,) = rotated(tmp_path / "m", RECORDS)
    assert pq.read_schema(file.path).equals(rotated_schema())
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o640


def test_an_answer_without_probabilities_has_its_class_alone(tmp_path):
    with written(tmp_path) as log:
        log.offer(answer(0))
        log.offer(answer(1, output=None))
    with_them, without = read(tmp_path)
    assert with_them["confidence"] == pytest.approx(0.7)
    assert (without["class_id"], without["confidence"], without["probabilities"]) == (1, None, None)


def test_records_are_chosen_by_time_and_version_and_come_in_order(tmp_path):
    with written(tmp_path) as log:
        for number in (3, 1, 2, 0):
            log.offer(answer(number, version=1 + number % 2, time_us=START_US + number * 1_000_000))
    start = datetime.fromtimestamp(START_US / 1e6, UTC)
    second = timedelta(seconds=1)
    assert [row["class_id"] for row in read(tmp_path)] == [0, 1, 2, 3]
    assert [row["class_id"] for row in read(tmp_path, since=start + second, until=start + 3 * second)] == [1, 2]
    assert [row["class_id"] for row in read(tmp_path, version=2)] == [1, 3]
    assert read(tmp_path, since=start + 4 * second) == []
    assert len(read(tmp_path, since=start.replace(tzinfo=None))) == 4


def test_a_log_that_is_not_there_has_no_rows_and_all_columns(tmp_path):
    found = read_records(tmp_path / "none", "m")
    assert found.schema.names == [*rotated_schema().names, "true_class"]
    assert len(found) == 0


def test_models_and_servers_keep_apart_whatever_they_are_called(tmp_path):
    names = ["m", "../m", ".deletions", "a b"]
    with written(tmp_path) as one, written(tmp_path) as other:
        for number, name in enumerate(names):
            one.offer(answer(number, model=name))
            other.offer(answer(number, model=name))
    for name in names:
        assert [row["model"] for row in read_records(tmp_path, name).to_pylist()] == [name, name]
        assert model_folder(tmp_path, name).parent == tmp_path


def test_the_last_feedback_joins_its_image(tmp_path):
    with written(tmp_path) as log:
        log.offer(answer(0, images=2))
        log.offer(answer(1))
        log.labelled("m", answer(0).request_id, (3, 3))
        eventually(lambda: [row["true_class"] for row in read(tmp_path)] == [3, 3, None])
        log.labelled("m", answer(0).request_id, (3, 2))
        log.labelled("m", "1-none-ffffffffffffffff", (0,))
        eventually(lambda: [row["true_class"] for row in read(tmp_path)] == [3, 2, None])
    assert [row["true_class"] for row in read(tmp_path)] == [3, 2, None]
    assert len(rotated(tmp_path / "m", FEEDBACK)) == 1


def test_properties_are_of_the_image_as_the_network_sees_it_and_its_size_as_it_was_sent(tmp_path):
    large = PIXELS_SEEN.repeat(2, axis=0).repeat(2, axis=1)
    with written(tmp_path) as log:
        log.offer(answer(0, images=2, inputs=encoded(PIXELS_SEEN, large)))
        log.offer(answer(1, inputs={"input": PIXELS_SEEN[np.newaxis].astype(np.float32)}))
        log.offer(answer(2, inputs={"image_bytes": np.array([b"no picture"], object)}))
        eventually(lambda: sum(row["brightness"] is not None for row in read(tmp_path)) == 3)
    rows = read(tmp_path)
    seen = properties(PIXELS_SEEN)
    assert [(row["width"], row["height"]) for row in rows] == [(4, 6), (8, 12), (None, None), (None, None)]
    assert [row["brightness"] for row in rows[:3]] == pytest.approx([seen.brightness] * 3, rel=0.01)
    assert rows[0]["sharpness"] == pytest.approx(seen.sharpness, rel=1e-4) == rows[2]["sharpness"]
    assert rows[3]["brightness"] is None


def test_while_requests_wait_for_cores_next_to_no_image_is_looked_at_and_every_answer_is_logged(tmp_path):
    with written(tmp_path, in_flight=lambda: 1000) as log:
        for number in range(300):
            log.offer(answer(number, inputs=encoded(np.zeros((400, 400, 3), np.uint8))))
        eventually(lambda: len(read(tmp_path)) == 300)
    assert 1 <= sum(row["width"] is not None for row in read(tmp_path)) < 30


def test_the_moment_between_two_batches_is_no_free_core(tmp_path):
    """Every other look finds nothing in flight; an image takes long, so that none is due for seconds."""
    in_flight = cycle((1000, 0))

    def embed(*_arguments):
        time.sleep(0.1)

    with written(tmp_path, LogRules(embed_sample=1.0), in_flight=lambda: next(in_flight), embed=embed) as log:
        for number in range(50):
            log.offer(answer(number, inputs=encoded(PIXELS_SEEN)))
        eventually(lambda: len(read(tmp_path)) == 50)
        time.sleep(2)
        assert sum(row["width"] is not None for row in read(tmp_path)) == 1


def test_inputs_that_nobody_can_look_at_are_let_go_of_at_once(tmp_path):
    looked_at = threading.Event()
    with written(tmp_path, LogRules(embed_sample=1.0), embed=lambda *_: looked_at.wait(60)) as log:
        for number in range(300):
            log.offer(answer(number, inputs=encoded(PIXELS_SEEN)))

        def let_go():
            pixels = PIXELS_SEEN[np.newaxis].astype(np.float32)
            there = weakref.ref(pixels)
            log.offer(answer(300, inputs={"input": pixels}))
            del pixels
            return there() is None

        try:
            eventually(let_go)
        finally:
            looked_at.set()


def test_embeddings_are_of_the_share_asked_for(tmp_path):
    def embed(model, version, inputs):
        return np.full((len(inputs["image_bytes"]), 2), version, np.float32)

    with written(tmp_path, LogRules(embed_sample=0.5), embed=embed) as log:
        for number in range(200):
            log.offer(answer(number, version=7, inputs=encoded(PIXELS_SEEN)))
        eventually(lambda: sum(row["width"] is not None for row in read(tmp_path)) == 200)
    found = [row["embedding"] for row in read(tmp_path)]
    assert 60 < found.count([7.0, 7.0]) < 140
    assert found.count([7.0, 7.0]) + found.count(None) == 200


def test_a_version_without_the_signature_has_no_embeddings(tmp_path):
    with written(tmp_path, LogRules(embed_sample=1.0), embed=pytest.fail) as log:
        log.offer(answer(0, inputs={"input": PIXELS_SEEN[np.newaxis].astype(np.float32)}))
        eventually(lambda: [row["brightness"] is not None for row in read(tmp_path)] == [True])
    assert read(tmp_path)[0]["embedding"] is None


@pytest.mark.parametrize("kept", ["none", DIGEST, PIXELS])
def test_of_the_images_themselves_only_what_was_asked_for_is_on_the_disk(tmp_path, kept):
    data = png(PIXELS_SEEN)
    with written(tmp_path, LogRules(kept_inputs=kept)) as log:
        log.offer(answer(0, inputs=encoded(PIXELS_SEEN)))
        log.offer(answer(1, inputs={"input": PIXELS_SEEN[np.newaxis].astype(np.float32)}))
        eventually(lambda: len(read(tmp_path)) == 2)
        on_disk = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
        assert (data in on_disk) == (kept == PIXELS)
    rows = read(tmp_path)
    assert [row["pixels"] for row in rows] == ([data, data] if kept == PIXELS else [None, None])
    assert [len(row["input_digest"] or "") for row in rows] == ([32, 32] if kept == DIGEST else [0, 0])


def test_what_finds_no_room_is_dropped_and_counted_and_large_inputs_alone_drop_no_record(tmp_path):
    log = PredictionLog(tmp_path, LogRules())
    for number in range(10_000):
        log.offer(answer(number))
    for _ in range(3):
        log.lost()
    log.start()
    log.close()
    counts = log.counts()
    assert counts.records + counts.dropped == 10_003
    assert counts.records == len(read(tmp_path)) == 8192
    large = {"input": np.zeros((1, 3000, 3000, 3), np.float32)}  # 108 MB
    with written(tmp_path) as log:
        log.offer(answer(20_000, inputs=large))
    assert read(tmp_path)[-1]["width"] is None
    assert log.counts().dropped == 0


def test_the_folder_stays_within_its_size_and_the_oldest_rows_go(tmp_path):
    rules = LogRules(most_bytes=400_000)
    with written(tmp_path, rules) as log:
        for number in range(40):
            picture = np.random.default_rng(number).random((50, 100), np.float32)
            log.offer(answer(number, images=50, output=picture, classes=(0,) * 50))
            if number % 4 == 3:
                eventually(lambda: log.counts().records == 50 * (number + 1))  # noqa: B023
                eventually(lambda: size_bytes(tmp_path) < 600_000)  # a rotation may be under way
    assert 100_000 < size_bytes(tmp_path) <= 400_000
    rows = read(tmp_path)
    numbers = sorted({int(row["request_id"][-16:], 16) for row in rows})
    assert numbers == list(range(numbers[0], 40))
    assert numbers[0] > 0
    assert log.counts().oldest_s == rows[0]["time"].timestamp()


def test_rows_go_when_they_are_too_old(tmp_path):
    now = now_us()
    for age_days in (40, 20, 1):
        with written(tmp_path, LogRules(keep_s=100 * DAY_S)) as log:
            log.offer(answer(age_days, time_us=now - int(age_days * DAY_S * 1e6)))
    assert prune(tmp_path, None, 30 * DAY_S, now).files == 1
    assert [int(row["request_id"][-16:], 16) for row in read(tmp_path)] == [20, 1]
    with written(tmp_path, LogRules(keep_s=10 * DAY_S)):
        eventually(lambda: len(read(tmp_path)) == 1)


def test_a_deleted_clients_rows_are_gone_and_nobody_elses(tmp_path):
    with written(tmp_path) as log:
        for number in range(20):
            log.offer(answer(number, client=["ada", "bob", ""][number % 3]))
            log.labelled("m", answer(number).request_id, (0,))
        eventually(lambda: len(read(tmp_path)) == 20)
        ada = client_digest(client_key(tmp_path), "ada")
        deleted = delete_client(tmp_path, ada, now_us(), wait_s=10)
        assert (deleted.records, deleted.held) == (0, 0)  # the server left them out when it rotated
        assert not any(ada.encode() in path.read_bytes() for path in (tmp_path / "m").iterdir())
        log.offer(answer(30, time_us=now_us() + 1, client="ada"))
        log.offer(answer(31, client="bob"))
    assert [int(row["request_id"][-16:], 16) for row in read(tmp_path)] == [
        *(number for number in range(20) if number % 3),
        31,
        30,
    ]


def test_rotated_files_are_rewritten_without_a_deleted_client_and_its_feedback(tmp_path):
    with written(tmp_path) as log:
        for number in range(6):
            log.offer(answer(number, client="ada" if number % 2 else "bob"))
            log.labelled("m", answer(number).request_id, (0,))
    with written(tmp_path) as log:
        log.offer(answer(7, client="ada"))
    assert len(rotated(tmp_path / "m", RECORDS)) == 2
    ada = client_digest(client_key(tmp_path), "ada")
    deleted = delete_client(tmp_path, ada, now_us(), wait_s=0)
    assert (deleted.records, deleted.feedback, deleted.files, deleted.held) == (4, 3, 3, 0)
    (file,) = rotated(tmp_path / "m", RECORDS)
    assert pq.read_table(file.path)["client"].to_pylist() == [client_digest(client_key(tmp_path), "bob")] * 3
    assert delete_client(tmp_path, ada, now_us(), wait_s=0).records == 0


def test_rows_of_a_server_that_does_not_rotate_are_out_of_every_answer_at_once(tmp_path):
    with written(tmp_path) as log:
        log.offer(answer(0, client="ada"))
        eventually(lambda: len(read(tmp_path)) == 1)
        log._deletions = -1  # it will rotate, but not yet
        held = delete_client(tmp_path, client_digest(client_key(tmp_path), "ada"), now_us(), wait_s=0)
        assert held.held == 1
        assert read(tmp_path) == []


def test_the_next_server_takes_over_what_a_killed_one_left(tmp_path):
    program = """
import sys, time
from pathlib import Path
from tests.serving.prediction_log.answers import answer
from serving.prediction_log.rules import LogRules
from serving.prediction_log.writing import PredictionLog
log = PredictionLog(Path(sys.argv[1]), LogRules())
log.start()
for number in range(100):
    log.offer(answer(number))
while log.counts().records < 100:
    time.sleep(0.01)
print("written", flush=True)
time.sleep(60)
"""
    killed = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE)
    assert killed.stdout.readline() == b"written\n"
    killed.kill()
    killed.wait()
    before = read_records(tmp_path, "m")
    assert len(before) == 100
    assert journals(tmp_path / "m")
    with written(tmp_path):
        eventually(lambda: not journals(tmp_path / "m"))
    assert read_records(tmp_path, "m").equals(before)


def test_reading_beside_rotation_never_misses_a_row(tmp_path):
    counts, stopping = [], threading.Event()

    def look():
        while not stopping.is_set():
            counts.append(len(read(tmp_path)))

    thread = threading.Thread(target=look)
    with written(tmp_path, LogRules(rotate_bytes=1)) as log:
        thread.start()
        for number in range(200):
            log.offer(answer(number))
            time.sleep(0.005)
    stopping.set()
    thread.join()
    assert counts == sorted(counts)
    assert len(rotated(tmp_path / "m", RECORDS)) > 2
    assert len(read(tmp_path)) == 200


def test_the_key_is_the_owners_alone_and_another_key_gives_other_hashes(tmp_path):
    with written(tmp_path / "log"):
        key = client_key(tmp_path / "log")
    assert stat.S_IMODE((tmp_path / "log" / ".client.key").stat().st_mode) == 0o600
    with written(tmp_path / "log"):
        assert client_key(tmp_path / "log") == key
    (tmp_path / "own").write_text("0123456789abcdef" * 2)
    assert client_digest(client_key(tmp_path, tmp_path / "own"), "ada") != client_digest(key, "ada")
    (tmp_path / "short").write_text("secret")
    with pytest.raises(InputError, match="holds a key of 6 bytes; expected 16"):
        client_key(tmp_path, tmp_path / "short")


def test_without_pyarrow_the_error_has_the_line_that_installs_it(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(InputError, match=r"pip install 'slipway\[prediction-log\]'"):
        PredictionLog(tmp_path, LogRules())


def test_to_hand_an_answer_over_takes_microseconds(tmp_path):
    log = PredictionLog(tmp_path, LogRules())
    answers = [answer(number, inputs=encoded(PIXELS_SEEN)) for number in range(5000)]
    began = time.thread_time()
    for each in answers:
        log.offer(each)
    assert (time.thread_time() - began) / len(answers) < 50e-6
    json.dumps(log.counts()._asdict())


def test_the_size_of_an_array_says_nothing_of_the_file_that_it_was_made_of(tmp_path):
    with written(tmp_path) as log:
        log.offer(answer(0, inputs={"input": PIXELS_SEEN[np.newaxis].astype(np.float32)}))
        eventually(lambda: [row["brightness"] is not None for row in read(tmp_path)] == [True])
    assert [(row["width"], row["height"]) for row in read(tmp_path)] == [(None, None)]


def test_an_image_that_takes_long_to_look_at_holds_no_record_up(tmp_path):
    done = threading.Event()

    def embed(*_arguments):
        done.wait(60)

    with written(tmp_path, LogRules(embed_sample=1.0), embed=embed) as log:
        for number in range(3):
            log.offer(answer(number, inputs=encoded(PIXELS_SEEN)))
            eventually(lambda: log.counts().records == number + 1)  # noqa: B023
        done.set()
        eventually(lambda: sum(row["width"] is not None for row in read(tmp_path)) == 3)


def test_an_odd_answer_costs_itself_alone_and_is_counted(tmp_path):
    with written(tmp_path) as log:
        for number in range(9):
            log.offer(answer(number, **({"label": object()} if number == 4 else {})))
        log.offer(answer(9, model="other", classes=None))
        log.labelled("m", answer(0).request_id, (3,))
        log.labelled("m", answer(1).request_id, ("not a class",))
    assert [(row["class_id"], row["true_class"]) for row in read(tmp_path)] == [
        (number % 4, None if number else 3) for number in range(9) if number != 4
    ]
    assert log.counts()[:2] == (8, 3)


def test_an_image_that_cannot_be_looked_at_takes_nothing_from_the_others(tmp_path):
    def embed(_model, version, _inputs):
        raise ValueError(version)

    with written(tmp_path, LogRules(embed_sample=1.0), embed=embed) as log:
        log.offer(answer(0, inputs=encoded(PIXELS_SEEN)))
        log.offer(answer(1, inputs=encoded(PIXELS_SEEN), signatures={}))
        eventually(lambda: [row["width"] for row in read(tmp_path)] == [None, 4])
    assert log.counts().dropped == 0


def test_a_pyarrow_that_does_not_import_is_said_instead_of_waited_for(tmp_path, monkeypatch):
    def broken():
        raise ImportError("libarrow.so: no such file")

    monkeypatch.setattr(writing, "import_arrow", broken)
    log = PredictionLog(tmp_path, LogRules())
    log.start()
    with pytest.raises(InputError, match=r"cannot be imported \(libarrow.*pip install 'slipway\[prediction-log\]'"):
        log.wait_ready()
    log.close()


def test_outputs_that_wait_are_held_to_a_size_and_inputs_take_none_of_their_room():
    waiting = Waiting(most_answers=100, most_bytes=10_000)
    large = np.zeros((1, 1000), np.float32)
    assert [waiting.add(answer(number, output=large)) for number in range(4)] == [True, True, False, False]
    waiting.take()
    assert all(waiting.add(answer(number, inputs={"input": large})) for number in range(20))
    answers, _ = waiting.take()
    assert [each.inputs is not None for each in answers] == [True, True] + [False] * 18


def test_a_server_that_is_asked_nothing_removes_what_is_old(tmp_path):
    with written(tmp_path) as log:
        log.offer(answer(0))
    with written(tmp_path, LogRules(keep_s=DAY_S, tidy_s=0.5)):
        (kept,) = rotated(tmp_path / "m", RECORDS)
        old = kept.path.with_name(f"records-{1:016d}-{2:016d}-{'0' * 16}-000001.parquet")
        time.sleep(0.5)
        kept.path.rename(old)  # as if time had passed
        eventually(lambda: not old.exists())


def test_the_last_rows_of_a_version_are_read_from_the_newest_files_alone(tmp_path, monkeypatch):
    for first in range(0, 40, 10):
        with written(tmp_path) as log:
            for number in range(first, first + 10):
                log.offer(answer(number, version=1 + number % 2))
                log.labelled("m", answer(number).request_id, (number % 4,))
    opened = []
    real = pq.ParquetFile
    monkeypatch.setattr(pq, "ParquetFile", lambda path: opened.append(path.name) or real(path))
    found = read_last(tmp_path, "m", Window(version=2), 7, ("class_id", "true_class"))
    assert found["class_id"].to_pylist() == found["true_class"].to_pylist() == [3, 1, 3, 1, 3, 1, 3]
    assert set(found.schema.names) == {"time", "request_id", "row", "class_id", "true_class"}
    assert len([name for name in opened if name.startswith(RECORDS)]) == 2
    assert len(read_last(tmp_path, "m", Window(), 100, ("class_id",))) == 40


def test_the_last_rows_are_the_last_even_where_servers_wrote_beside_each_other(tmp_path):
    with written(tmp_path) as one, written(tmp_path) as other:
        for number in range(20):
            (other if number % 3 else one).offer(answer(number))
        one.offer(answer(30))
    found = read_last(tmp_path, "m", Window(), 5, ())
    assert [int(each[-16:], 16) for each in found["request_id"].to_pylist()] == [16, 17, 18, 19, 30]
