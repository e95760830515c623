"""Twenty thousand images, scored by processes and by Spark, and by runs that are killed again and again."""

import os
import random
import signal
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.pipeline.lifecycle_world import NAME, NETWORK, World

pytestmark = [pytest.mark.soak, pytest.mark.timeout(14400)]

IMAGES = int(os.environ.get("SLIPWAY_SOAK_IMAGES", "20000"))
PART_IMAGES = 250
KILLS = 5
TIMEOUT_S = 3600


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A world whose champion was trained on the digits, and a list that names them over and over."""
    world = World(tmp_path_factory.mktemp("scoring"))
    training = ("--epochs", "2", "--batch-size", "64", "--minimum-accuracy", "0.3", "--variants", "onnx-fp32")
    done = world.run("main", *NETWORK, *training, "--round-seconds", "0.3", "--rounds", "1", timeout_s=TIMEOUT_S)
    assert done.code == 0, done.err
    digits = sorted((world.folder / ".slipway" / "digits").glob("*/*.png"))
    paths = [digits[number % len(digits)].relative_to(world.folder).as_posix() for number in range(IMAGES)]
    (world.folder / "list.csv").write_text("path\n" + "\n".join(paths) + "\n")
    return world


def words(output, *more):
    return (
        "score",
        *("--name", NAME, "--input", "list.csv", "--output", output, "--part-images", PART_IMAGES, "--workers", 2),
        *more,
    )


def finished(world, output, *more):
    """All rows of an output that a run has finished, in the order of its files."""
    done = world.run(*words(output, *more), timeout_s=TIMEOUT_S)
    assert done.code == 0, done.err
    print(done.out)  # noqa: T201
    files = sorted((world.folder / output).glob("part-*.parquet"))
    return pa.concat_tables([pq.read_table(file) for file in files])


def check_same(rows, expected, tolerance):
    """Each image once, in order, with the same class and, but for rounding, the same probabilities."""
    assert rows["row"].to_pylist() == list(range(IMAGES))
    assert rows["error"].null_count == IMAGES
    for column in ("image", "label", "class_id", "servable_digest", "version"):
        assert rows[column].equals(expected[column]), column
    probabilities = [np.stack(each["probabilities"].to_numpy()) for each in (rows, expected)]
    assert np.abs(probabilities[0] - probabilities[1]).max() <= tolerance


@pytest.fixture(scope="module")
def by_processes(trained):
    return finished(trained, "processes")


def test_spark_and_another_runtime_say_of_twenty_thousand_images_what_processes_say(trained, by_processes):
    check_same(finished(trained, "spark", "--engine", "spark"), by_processes, 1e-5)
    check_same(finished(trained, "onnx", "--variant", "onnx-fp32"), by_processes, 1e-4)


@pytest.mark.parametrize("engine", ["processes", "spark"])
def test_runs_that_are_killed_again_and_again_lose_no_row_and_double_none(trained, by_processes, engine):
    randomness = random.Random(6)
    output, killed = f"killed-{engine}", 0
    for _ in range(KILLS):
        process = trained.start(*words(output, "--engine", engine))
        before = parts(trained, output)
        while parts(trained, output) == before and process.poll() is None:
            time.sleep(0.05)
        time.sleep(randomness.uniform(0, 1))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            killed += 1
        process.communicate()
    assert killed
    print(f"{engine}: {killed} kills, {parts(trained, output)} parts were there at the last")  # noqa: T201
    check_same(finished(trained, output, "--engine", engine), by_processes, 1e-5)


def parts(world, output):
    return len(list((world.folder / output).glob("part-*.parquet")))
