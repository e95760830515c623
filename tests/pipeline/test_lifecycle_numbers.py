"""One number everywhere: whoever is asked, by whatever protocol, gives a version's own probabilities."""

import base64
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import requests
from PIL import Image

from tests.pipeline.conftest import ended_well
from tests.pipeline.lifecycle_world import background, free_ports, json_of, wait_until

pytestmark = pytest.mark.integration

MODEL = "my_model"
NETWORK = ("--network", "tiny", "--image-size", "224", "--head", "avg", "--batch-norm-momentum", "0.5")


@pytest.fixture(scope="module")
def world(original, third, tmp_path_factory):
    return original.copy(tmp_path_factory.mktemp("numbers") / "world")


@pytest.fixture(scope="module")
def pets(world):
    """Thirty pictures of two classes, of several sizes and formats."""
    random = np.random.default_rng(3)
    for number in range(30):
        label, suffix = ("cat", "dog")[number % 2], ("jpg", "png", "bmp")[number % 3]
        (world.folder / "pets" / label).mkdir(parents=True, exist_ok=True)
        coarse = random.integers(100 * (number % 2), 150 + 100 * (number % 2), (6, 5, 3), np.uint8)
        picture = Image.fromarray(coarse).resize((200 + number, 130), Image.Resampling.BICUBIC)
        picture.save(world.folder / "pets" / label / f"{number}.{suffix}")
    return world.folder / "pets"


@pytest.fixture(scope="module")
def published(world, pets):
    """A 224 x 224 servable, made and published by `main`: its version directory."""
    words = ("--name", MODEL, "--data", "pets", "--epochs", "2", "--batch-size", "8", "--minimum-accuracy", "0")
    ended_well(world.run("main", *NETWORK, *words))
    return world.base / MODEL / "1"


@pytest.fixture(scope="module")
def ports(world, published):
    """REST and gRPC port of the embedded server, started as TensorFlow Serving is on one model."""
    rest, grpc = free_ports()
    flags = (f"--rest_api_port={rest}", f"--port={grpc}", f"--model_name={MODEL}")
    log = world.folder / "server.log"
    with background(world, *flags, f"--model_base_path={published.parent}", module="serving.model_server", log=log):
        wait_until(lambda: requests.get(f"http://127.0.0.1:{rest}/healthz", timeout=5).ok, log.read_text)
        yield rest, grpc


@pytest.fixture(scope="module")
def mlflow_address(world, published):
    """`mlflow models serve -m models:/my_model@champion --env-manager local`."""
    (port,) = free_ports(1)
    log = world.folder / "mlflow.log"
    words = ("models", "serve", "-m", f"models:/{MODEL}@champion", "--env-manager", "local", "--port", port)
    with background(world, *words, module="mlflow", log=log):
        wait_until(lambda: requests.get(f"http://127.0.0.1:{port}/ping", timeout=5).ok, log.read_text)
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).random((224, 224, 3))


@pytest.fixture(scope="module")
def photograph(pets):
    """A JPEG of another size than the network's."""
    return pets / "cat" / "12.jpg"


@pytest.fixture(scope="module")
def by_rest(ports, pixels):
    """What a client of TensorFlow Serving reads."""
    url = f"http://localhost:{ports[0]}/v1/models/{MODEL}:predict"
    response = requests.post(url, data=json.dumps({"instances": [{"input": pixels.tolist()}]}), timeout=60)
    result = json.loads(response.text)
    return result["predictions"][0]["output"]


@pytest.fixture(scope="module")
def from_registry(world, published, photograph):
    """What `predict` says of the photograph, from the registry."""
    done = ended_well(world.run("predict", photograph, "--name", MODEL, "--json"))
    return json_of(done)["predictions"][0]


def test_a_rest_client_reads_probabilities(by_rest):
    assert len(by_rest) == 2
    assert sum(by_rest) == pytest.approx(1, abs=1e-6)
    assert all(0 < probability < 1 for probability in by_rest)


def test_a_jpeg_of_any_size_over_rest_gives_what_predict_gives(ports, photograph, from_registry):
    """signature_name serving_bytes, {"image_bytes": {"b64": ...}}: equal to 1e-5."""
    assert Image.open(photograph).size == (212, 130)
    encoded = base64.b64encode(photograph.read_bytes()).decode()
    body = {"signature_name": "serving_bytes", "instances": [{"image_bytes": {"b64": encoded}}]}
    response = requests.post(f"http://127.0.0.1:{ports[0]}/v1/models/{MODEL}:predict", json=body, timeout=60)
    (answer,) = response.json()["predictions"]
    assert answer["output"] == pytest.approx(from_registry["output"], abs=1e-5)
    assert (answer["label"], answer["class_id"]) == (from_registry["label"], from_registry["class_id"])


def test_tensorflows_own_stubs_read_the_same_numbers_over_grpc(ports, pixels, photograph, by_rest, from_registry):
    """tensorflow-serving-api against REST: equal to 1e-6; the response names signature and version."""
    import grpc
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    def ask(signature, **inputs):
        request = predict_pb2.PredictRequest()
        request.model_spec.name = MODEL
        request.model_spec.signature_name = signature
        for name, tensor in inputs.items():
            request.inputs[name].CopyFrom(tensor)
        with grpc.insecure_channel(f"127.0.0.1:{ports[1]}") as channel:
            response = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=60)
        assert response.model_spec.version.value == 1
        assert response.model_spec.signature_name == signature
        return tf.make_ndarray(response.outputs["output"])[0]

    floats = ask("serving_default", input=tf.make_tensor_proto(pixels[None], tf.float32))
    np.testing.assert_allclose(floats, by_rest, rtol=0, atol=1e-6)
    encoded = ask("serving_bytes", image_bytes=tf.make_tensor_proto([photograph.read_bytes()], tf.string))
    np.testing.assert_allclose(encoded, from_registry["output"], rtol=0, atol=1e-5)


def test_saved_model_cli_gives_the_servers_numbers(world, published, pixels, by_rest):
    """On the published directory as it lies."""
    np.save(world.folder / "pixels.npy", pixels[None].astype(np.float32))
    cli = str(Path(sys.executable).parent / "saved_model_cli")
    words = ("run", "--dir", str(published), "--tag_set", "serve", "--signature_def", "serving_default")
    files = ("--inputs", f"input={world.folder / 'pixels.npy'}", "--outdir", str(world.folder / "out"))
    ended_well(world.finish(world.popen([cli, *words, *files])))
    np.testing.assert_allclose(np.load(world.folder / "out" / "output.npy")[0], by_rest, rtol=0, atol=1e-6)


def test_mlflow_models_serve_gives_the_same_numbers(mlflow_address, pixels, photograph, by_rest, from_registry):
    """/invocations with dataframe_records, a float image and an encoded one: equal to 1e-5."""
    encoded = base64.b64encode(photograph.read_bytes()).decode()
    for record, expected in (
        ({"input": pixels.tolist()}, by_rest),
        ({"image_bytes": encoded}, from_registry["output"]),
    ):
        response = requests.post(f"{mlflow_address}/invocations", json={"dataframe_records": [record]}, timeout=120)
        assert response.ok, response.text
        (answer,) = response.json()["predictions"]
        assert set(answer) == {"output", "class_id", "label"}
        assert answer["output"] == pytest.approx(expected, abs=1e-5)


def test_pyfunc_gives_the_same_numbers(world, published, pixels, photograph, by_rest, from_registry):
    """mlflow.pyfunc.load_model, by one signature for floats and encoded images."""
    import mlflow
    import pandas as pd

    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(world.uri)
    try:
        loaded = mlflow.pyfunc.load_model(f"models:/{MODEL}@champion")
    finally:
        mlflow.set_tracking_uri(before)
    floats = loaded.predict(pd.DataFrame({"input": [pixels.tolist()]}))
    encoded = loaded.predict(pd.DataFrame({"image_bytes": [photograph.read_bytes()]}))
    assert floats["output"][0] == pytest.approx(by_rest, abs=1e-5)
    assert encoded["output"][0] == pytest.approx(from_registry["output"], abs=1e-5)
    assert encoded["label"][0] == from_registry["label"]


def test_predict_gives_the_same_numbers_from_every_server(
    world, ports, mlflow_address, photograph, from_registry, monkeypatch
):
    """REST, gRPC and MLflow's scoring server; those that know the version say it."""
    for address, version in (
        (f"http://127.0.0.1:{ports[0]}", "1"),
        (f"grpc://127.0.0.1:{ports[1]}", "1"),
        (mlflow_address, ""),
    ):
        done = world.call(monkeypatch, "predict", photograph, "--name", MODEL, "--address", address, "--json")
        (seen,) = json_of(ended_well(done))["predictions"]
        assert seen["output"] == pytest.approx(from_registry["output"], abs=1e-5)
        assert (seen["version"], seen["label"]) == (version, from_registry["label"])
