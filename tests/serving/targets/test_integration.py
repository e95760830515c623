"""One small servable on every target, asked through every protocol: the same answers everywhere."""

import shutil
import sys
from contextlib import closing

import numpy as np
import pytest

from serving.client import RejectedError, collect_images, connect, predict_files
from serving.targets import TARGETS, ServeSpec, open_target
from serving.targets.process import start
from slipway.errors import InputError
from tests.serving.targets.conftest import free_port, program

pytestmark = pytest.mark.integration

CLASSES = ("cat", "dog", "fox")
CONFIG = """model_config_list {{ config {{
  name: "pets" base_path: "{base}/pets" model_platform: "tensorflow"
  model_version_policy {{ specific {{ versions: 3 }} }} {labels}
}} }}
"""

# The real binary cannot be had for these tests: the embedded server stands in for it, told to take
# only the flags that the real one knows.
STAND_IN = """#!{python}
import os, sys
known = ("--port=", "--rest_api_port=", "--model_config_file=", "--model_config_file_poll_wait_seconds=")
assert all(argument.startswith(known) for argument in sys.argv[1:]), sys.argv
os.execv(sys.executable, [sys.executable, "-m", "serving.model_server", *sys.argv[1:]])
"""


@pytest.fixture(scope="module")
def servable(tmp_path_factory):
    """A SavedModel of an untrained network of three classes, 8 x 8, and four pictures."""
    import keras
    from PIL import Image

    from serving.servable.graph import write_saved_model

    root = tmp_path_factory.mktemp("servable")
    keras.utils.set_random_seed(7)
    layers = [keras.layers.Rescaling(1 / 255), keras.layers.Flatten(), keras.layers.Dense(3, "softmax")]
    write_saved_model(keras.Sequential([keras.Input((8, 8, 3)), *layers]), CLASSES, root / "servable" / "saved_model")
    pictures = root / "pictures"
    pictures.mkdir()
    random = np.random.default_rng(1)
    for name, size in (("a.png", (8, 8)), ("b.jpg", (31, 17)), ("c.gif", (64, 64)), ("d.bmp", (5, 9))):
        Image.fromarray(random.integers(0, 256, (*size, 3), np.uint8)).save(pictures / name)
    return root


@pytest.fixture(scope="module")
def spec(servable):
    import mlflow.pyfunc

    from pipeline.package import signature
    from serving.servable import slipway_model

    base = servable / "base"
    shutil.copytree(servable / "servable" / "saved_model", base / "pets" / "3")
    (base / "models.config").write_text(CONFIG.format(base=base, labels=""))
    (base / "labels.config").write_text(CONFIG.format(base=base, labels='version_labels { key: "stable" value: 3 }'))
    mlflow.pyfunc.save_model(
        servable / "model",
        loader_module="slipway_model",
        data_path=str(servable / "servable"),
        code_paths=[slipway_model.__file__],
        signature=signature(),
        pip_requirements=["mlflow"],
    )
    return ServeSpec("pets", base, free_port(), free_port(), model_directory=servable / "model")


@pytest.fixture(scope="module")
def expected(servable):
    """The SavedModel's own answers, by TensorFlow in this process."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(servable / "servable" / "saved_model"))
    contents = [file.read_bytes() for file in collect_images([servable / "pictures"])]
    return loaded.signatures["serving_bytes"](image_bytes=tf.constant(contents))["output"].numpy()


@pytest.fixture(scope="module", params=sorted(TARGETS))
def server(request, spec, servable):
    """Each target, serving."""
    with pytest.MonkeyPatch.context() as patch:
        program(servable / "bin" / "tensorflow_model_server", STAND_IN.format(python=sys.executable))
        patch.setenv("PATH", f"{servable / 'bin'}:/usr/bin:/bin")
        patch.setenv("PYTHONPATH", str(request.config.rootpath))
        with start(
            open_target(request.param), spec, log=servable / f"{request.param}.log", ready_timeout_s=180
        ) as server:
            yield server


def addresses_of(server):
    return [address for address in (server.addresses.rest, server.addresses.grpc) if address]


def test_every_target_gives_the_servables_own_answers(server, servable, expected):
    """Probabilities agree to 1e-5 over every protocol and picture format; all that can say the version say it."""
    for address in addresses_of(server):
        with closing(connect(address, "pets", timeout_s=60)) as client:
            predictions = list(predict_files(client, collect_images([servable / "pictures"])))
        np.testing.assert_allclose([prediction.output for prediction in predictions], expected, atol=1e-5)
        assert {prediction.version for prediction in predictions} == {"3" if server.addresses.grpc else ""}
        assert [prediction.label for prediction in predictions] == [CLASSES[row.argmax()] for row in expected]


def test_every_target_refuses_a_text_file_by_its_name(server, servable, tmp_path):
    """What is no picture is named, with the server's reason in one line, and the server goes on."""
    text = tmp_path / "notes.png"
    text.write_text("no picture")
    for address in addresses_of(server):
        with closing(connect(address, "pets", timeout_s=60)) as client:
            with pytest.raises(InputError, match=rf"{text}: {address} refused it: .*(?i:image|format)") as refusal:
                list(predict_files(client, [servable / "pictures" / "a.png", text]))
            assert "\n" not in str(refusal.value)
            with pytest.raises(RejectedError):
                client.predict([b""])
            assert len(client.predict([(servable / "pictures" / "a.png").read_bytes()])) == 1
