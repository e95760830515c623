"""Pictures to score, and a registry with a version that needs no TensorFlow."""

import json
import os
import shutil
import signal

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.pipeline.scoring_models import NAME, ScoringWorld
from tests.serving.model_server.servables import SIZE, answers, png


def pictures(count, seed=3):
    """Pixels, uint8 [count, H, W, 3]."""
    return np.random.default_rng(seed).integers(0, 256, (count, *SIZE, 3), np.uint8)


def write_pictures(folder, count):
    """Files in folders of up to fifty; returns what a network in numpy says of each, by path."""
    images = pictures(count)
    expected = answers(images)
    said = {}
    for number, image in enumerate(images):
        path = f"{number // 50:02}/{number:04}.png"
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(png(image))
        said[path] = expected[number]
    return said


class Scored(ScoringWorld):
    """A folder in which `slipway score` is called."""

    def __init__(self, folder):
        super().__init__(folder)
        self.started = []

    def popen(self, command, **environment):
        self.started.append(super().popen(command, **environment))
        return self.started[-1]

    def stop(self):
        """Nothing that a failed test has started goes on."""
        for process in self.started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def score(self, patch, images, *words, output="out"):
        return self.call(patch, *self.words(images, *words, output=output))

    @staticmethod
    def words(images, *words, output="out"):
        runtime = () if "--engine" in words or "--variant" in words else ("--runtime", "onnxruntime")
        return ("score", "--name", NAME, "--input", images, "--output", output, *runtime, *words)

    def rows(self, output="out"):
        """All rows of an output, as its files have them, by their order."""
        files = sorted((self.folder / output).glob("part-*.parquet"))
        return [row for file in files for row in pq.read_table(file).to_pylist()]

    def plan(self, output="out"):
        return json.loads((self.folder / output / "_slipway_score.json").read_text())


@pytest.fixture
def scored(empty_store, tmp_path):
    """A world with one version, the champion."""
    folder = tmp_path / "scored"
    folder.mkdir()
    shutil.copy(empty_store, folder / "mlflow.db")
    world = Scored(folder)
    version = world.scored_version(0)
    world.registry.set_alias(NAME, "champion", version.version)
    yield world
    world.stop()


def check_rows(rows, said):
    """Every image has one row, in order, and the network's answer."""
    assert [row["row"] for row in rows] == list(range(len(said)))
    assert [row["image"] for row in rows] == list(said)
    for row in rows:
        assert row["error"] is None
        np.testing.assert_allclose(row["probabilities"], said[row["image"]], atol=1e-4)
        assert row["class_id"] == int(np.argmax(row["probabilities"]))
