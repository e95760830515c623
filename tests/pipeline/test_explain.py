"""`slipway explain` on a registered servable, against the same asked by REST and by TensorFlow's own tool."""

import base64
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.pipeline.registered_world import RegisteredWorld
from tests.serving.model_server.processes import ServerProcess
from tests.serving.servable.planted import LABELS, SIDE, SQUARE, pictures, train

NAME = "planted"
pytestmark = pytest.mark.integration


class ExplainedWorld(RegisteredWorld):
    """Its versions are real servables of a network that looks for a square; `digest` is of their test split."""

    digest = "5e" * 32

    def seal(self, directory, run_id, **_):
        from serving.servable.build import Examples, Provenance, build_servable
        from serving.servable.held_out import HeldOut

        files, classes = self.images()
        examples = Examples(files, held_out=HeldOut(files, classes, self.digest))
        provenance = Provenance(run_id, "c0ffee", "da" * 32)
        return build_servable(train(), LABELS, examples, provenance, directory).manifest_digest

    def images(self):
        from PIL import Image

        pixels, classes, _ = pictures(36, seed=8)
        folder = self.folder / "images"
        folder.mkdir(exist_ok=True)
        files = [folder / f"{index:02}.png" for index in range(36)]
        for file, image in zip(files, pixels, strict=True):
            Image.fromarray(image).save(file)
        return files, [int(one) for one in classes]


@pytest.fixture(scope="module")
def patch():
    return pytest.MonkeyPatch()


@pytest.fixture(scope="module")
def world(tmp_path_factory, patch):
    from slipway.tensorflow_start import start_tensorflow

    start_tensorflow()
    world = ExplainedWorld(tmp_path_factory.mktemp("explained"))
    version = world.version(NAME)
    world.registry.set_alias(NAME, "champion", version.version)
    world.published(patch, version)
    return world


@pytest.fixture(scope="module")
def published(world):
    return world.base / NAME / "1"


@pytest.fixture(scope="module")
def server(world, tmp_path_factory):
    log = tmp_path_factory.mktemp("server") / "log"
    server = ServerProcess(log, f"--model_name={NAME}", f"--model_base_path={world.base / NAME}", "--host=127.0.0.1")
    try:
        server.wait_ready()
        yield server
    finally:
        server.process.terminate()
        server.process.wait(30)


def asked(server, data, method="explain", **more):
    instances = [{"image_bytes": {"b64": base64.b64encode(data).decode()}}]
    status, answer = server.request("POST", f"/v1/models/{NAME}:{method}", {"instances": instances, **more})
    assert status == 200, answer
    (row,) = next(iter(answer.values()))
    return row


def by_tensorflows_own_tool(published, file, tmp_path):
    """What `saved_model_cli run` gives for an image's file, by output."""
    inputs, outputs = tmp_path / "inputs.npy", tmp_path / "outputs"
    np.save(inputs, np.array([file.read_bytes()]))
    tool = Path(sys.executable).with_name("saved_model_cli")
    arguments = ["run", "--dir", published, "--tag_set", "serve", "--signature_def", "serving_explain"]
    arguments += ["--inputs", f"image_bytes={inputs}", "--outdir", outputs, "--overwrite"]
    run = subprocess.run([tool, *arguments], capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stderr
    return {file.stem: np.load(file, allow_pickle=True) for file in outputs.iterdir()}


def test_rest_and_saved_model_cli_give_the_same_heat_map(world, server, published, tmp_path):
    file = world.images()[0][4]
    row = asked(server, file.read_bytes())
    found = by_tensorflows_own_tool(published, file, tmp_path)
    np.testing.assert_allclose(np.array(row["heat_map"], np.float32), found["heat_map"][0], atol=1e-6)
    np.testing.assert_allclose(row["output"], found["output"][0], atol=1e-6)
    assert (row["class_id"], row["label"].encode()) == (found["class_id"][0], found["label"][0])
    assert (np.array(row["heat_map"]).shape, np.max(row["heat_map"])) == ((SIDE, SIDE), 1)
    predicted = asked(server, file.read_bytes(), "predict", signature_name="serving_explain")
    assert predicted == row


def test_explain_writes_overlays_says_the_class_and_logs_both(world, patch):
    from PIL import Image

    files, classes = world.images()
    done = world.call(patch, "explain", "--name", NAME, "--output", "seen", files[1], files[2])
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0].split() == ["file", "label", "probability", "version", "overlay"]
    assert [line.split()[1] for line in lines[1:3]] == [LABELS[classes[1]], LABELS[classes[2]]]
    logged = world.mlflow.list_artifacts(re.search(r"logged to run (\w+)", done.out)[1], "explanations")
    assert [one.path for one in logged] == ["explanations/01-explained.png", "explanations/02-explained.png"]
    picture, overlay = (
        np.asarray(Image.open(file), float) for file in (files[1], world.folder / "seen/01-explained.png")
    )
    changed = np.abs(picture - overlay).sum(axis=2)
    square = (picture == (0, 0, 255)).all(axis=2)
    assert square.sum() == SQUARE * SQUARE
    assert changed[square].mean() > 4 * changed[~square].mean()


def test_explain_asks_a_server_and_both_ways_answer_alike(world, server, patch):
    file = world.images()[0][2]
    address = f"http://127.0.0.1:{server.rest_port}"
    documents = []
    for output, more in (("by-server", ("--address", address)), ("by-registry", ())):
        done = world.call(patch, "explain", "--name", NAME, "--output", output, "--json", file, *more)
        assert done.code == 0, done.err
        (document,) = json.loads(done.out)["explanations"]
        documents.append(document)
    one, other = documents
    assert (one["label"], one["version"], one["model"]) == (other["label"], other["version"], other["model"])
    assert one["probability"] == pytest.approx(other["probability"], abs=1e-5)
    images = [(world.folder / document["overlay"]).read_bytes() for document in documents]
    assert images[0] == images[1]


def test_a_file_that_is_no_image_is_named(world, server, patch, tmp_path):
    text = tmp_path / "notes.png"
    text.write_text("no image")
    for more in ((), ("--address", f"http://127.0.0.1:{server.rest_port}")):
        done = world.call(patch, "explain", "--name", NAME, text, *more)
        assert done.code == 2
        assert "notes.png" in done.err
        assert "is no image" in done.err


def test_the_published_servable_carries_reference_statistics_and_lists_its_signatures(world, published):
    from serving.servable.layout import MANIFEST, STATISTICS, published_path
    from serving.servable.manifest import read_manifest
    from serving.servable.reference import load_reference

    reference = load_reference(published / published_path(STATISTICS))
    assert (len(reference), reference.split_digest) == (36, world.digest)
    assert reference.accuracy > 0.95
    assert reference.embeddings.shape == (36, 16)
    manifest = read_manifest(published / published_path(MANIFEST))
    assert {"reference/reference.npz", "reference/reference.json"} <= set(manifest.files)
    assert {"serving_default", "serving_bytes", "serving_embed", "serving_explain"} <= set(manifest.signatures)
