"""What the serving image and the training image hold, installed as their container files say."""

import base64
import json
import os
import shutil
import subprocess

import numpy as np
import pytest

from tests.images.containerfile import read
from tests.images.environments import install
from tests.serving.model_server.processes import ServerProcess
from tests.serving.model_server.servables import LABELS, SIZE, answers, png, publish_servable

pytestmark = pytest.mark.integration
HEAVY = ("tensorflow", "mlflow", "keras", "torch", "boto3", "kubernetes")
# What Debian's slim image with Python has.
BASE_LIBRARIES = {
    *("libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1", "libutil.so.1"),
    *("libstdc++.so.6", "libgcc_s.so.1", "libz.so.1"),
    *("linux-vdso.so.1", "ld-linux-x86-64.so.2"),
}
READ_ONLY = ("unshare", "--mount", "--propagation", "private", "sh", "-c")
REMOUNTED = 'mount -o remount,bind,ro / && exec "$@"'


@pytest.fixture(scope="module")
def serving(tmp_path_factory):
    return install("serving", tmp_path_factory.mktemp("serving"))


@pytest.fixture(scope="module")
def training(tmp_path_factory):
    return install("training", tmp_path_factory.mktemp("training"))


def run(installed, code):
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(installed.sources), "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [installed.python, "-c", code], capture_output=True, text=True, check=False, env=environment, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def missing(installed, names):
    code = f"from importlib.util import find_spec\nprint(*(name for name in {names!r} if find_spec(name) is None))"
    return set(run(installed, code).split())


def show(capsys, name, installed):
    with capsys.disabled():
        print(f"\n{name} image: {len(installed.packages())} packages, {installed.size_mb():.0f} MB")  # noqa: T201


def test_the_serving_image_has_neither_tensorflow_nor_mlflow(serving, capsys):
    assert missing(serving, HEAVY) == set(HEAVY)
    assert missing(serving, ("openvino", "grpc", "uvicorn", "cv2", "serving.model_server")) == set()
    show(capsys, "serving", serving)


def test_the_training_image_has_what_trains_registers_and_talks_to_a_cluster(training, serving, capsys):
    assert missing(training, ("tensorflow", "keras", "mlflow", "kubernetes", "sqlalchemy", "docker")) == set()
    assert missing(training, ("pytest", "ruff")) == {"pytest", "ruff"}
    assert serving.size_mb() < training.size_mb() / 3
    show(capsys, "training", training)


def test_the_serving_image_needs_no_shared_library_that_its_base_lacks(serving):
    libraries = serving.shared_libraries()
    processors = [str(path) for path in libraries if "intel_gpu" not in path.name]  # OpenVINO loads that for a GPU only
    listed = subprocess.run(["ldd", *processors], capture_output=True, text=True, check=False).stdout
    own = {path.name for path in libraries}
    needed = {line.split()[0].rpartition("/")[2] for line in listed.splitlines() if line.startswith("\t")}
    assert needed - own - BASE_LIBRARIES - {"statically"} == set()


@pytest.fixture(scope="module")
def server(serving, tmp_path_factory):
    """The entry point of the image with its flags, the root file system read-only where this user may have it so."""
    root = tmp_path_factory.mktemp("base")
    publish_servable(root / "m", 1, {"openvino-fp32": 30.0})
    config = f'name: "m" base_path: "{root}/m" model_platform: "tensorflow" version_labels {{ key: "stable" value: 1 }}'
    (root / "labels.config").write_text(f"model_config_list {{ config {{ {config} }} }}")
    image = read("serving")
    python, *module = image.words("ENTRYPOINT")
    own = ("--host", "--port", "--rest_api_port", "--access_tokens_file")
    flags = [word.replace("/base/", f"{root}/") for word in image.words("CMD") if not word.startswith(own)]
    assert (python, module) == ("python", ["-m", "serving.model_server"])
    command = ("env", "-i", f"PYTHONPATH={serving.sources}", "HOME=/nowhere", "PYTHONDONTWRITEBYTECODE=1")
    before = (*READ_ONLY, REMOUNTED, "sh") if can_be_read_only() else ()
    server = ServerProcess(root / "log", *flags, command=(*before, *command, serving.python))
    try:
        server.wait_ready()
        yield server
    finally:
        server.process.terminate()
        server.process.wait(30)


def can_be_read_only():
    return (
        shutil.which("unshare") is not None
        and subprocess.run([*READ_ONLY, REMOUNTED, "sh", "true"], capture_output=True, check=False).returncode == 0
    )


def test_the_serving_image_answers_pixels_and_files_on_a_root_file_system_that_it_cannot_write(server):
    pixels = np.random.default_rng(1).integers(0, 256, (2, *SIZE, 3), np.uint8)
    encoded = [{"b64": base64.b64encode(png(image)).decode()} for image in pixels]
    expected = answers(pixels)
    for signature, instances in (("serving_default", pixels.tolist()), ("serving_bytes", encoded)):
        status, answer = server.predict("m", instances, signature=signature)
        assert status == 200, json.dumps(answer)
        np.testing.assert_allclose([each["output"] for each in answer["predictions"]], expected, atol=1e-3)
        assert [each["label"] for each in answer["predictions"]] == [LABELS[each] for each in expected.argmax(1)]
