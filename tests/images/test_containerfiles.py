"""The container files of serving and training: what can be known of them without docker."""

import re
from pathlib import Path

import pytest

from serving.model_server.flag_parsing import parse_flags
from tests.images.containerfile import read

ROOT = Path(__file__).parents[2]
NAMES = ("serving", "training")


@pytest.mark.parametrize("name", NAMES)
def test_an_image_starts_from_a_pinned_slim_python_and_what_builds_it_stays_behind(name):
    build, final = read(name).all("FROM")
    assert re.fullmatch(r"python:3\.11-slim-\w+ AS build", build)
    assert final == build.removesuffix(" AS build")
    assert "--from=build /environment /environment" in read(name).all("COPY")


@pytest.mark.parametrize("name", NAMES)
def test_an_image_runs_as_a_number_that_is_not_roots_so_that_kubernetes_can_see_it(name):
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", read(name).last("USER"))


@pytest.mark.parametrize("name", NAMES)
def test_everything_that_is_installed_is_locked_with_its_hash(name):
    image = read(name)
    for locked in image.environment_requirements():
        text = (ROOT / locked).read_text(encoding="utf-8")
        pins = re.findall(r"^[a-z0-9][\w.-]*(?:\[[\w,]+\])?==", text, re.MULTILINE)
        assert pins
        assert text.count("--hash=sha256:") >= len(pins)
    installs = re.findall(r"pip install[^&]*", " ".join(image.all("RUN")))
    assert installs
    assert all("--require-hashes" in each or each.strip().endswith("--no-build-isolation .") for each in installs)


@pytest.mark.parametrize("name", NAMES)
def test_an_image_holds_no_secret_and_copies_only_what_is_there(name):
    image = read(name)
    named = [words.split("=")[0] for words in [*image.all("ENV"), *image.all("ARG")]]
    assert not [words for words in named if re.search("TOKEN|SECRET|PASSWORD|KEY", words)]
    copied = [words.split()[:-1] for words in image.all("COPY") if "--from=" not in words]
    assert all((ROOT / path).exists() for paths in copied for path in paths)


@pytest.mark.parametrize("name", NAMES)
def test_an_image_writes_no_bytecode_at_run_time(name):
    image = read(name)
    assert "PYTHONDONTWRITEBYTECODE=1" in image.last("ENV")
    assert any("--compile-bytecode" in words for words in image.all("RUN"))


def test_the_serving_image_has_neither_the_lifecycle_nor_the_registry():
    assert read("serving").final_copies() == ["slipway", "serving"]


def test_the_locked_requirements_of_the_serving_image_name_neither_tensorflow_nor_mlflow():
    (locked,) = read("serving").environment_requirements()
    pins = re.findall(r"^([\w.-]+)==", (ROOT / locked).read_text(encoding="utf-8"), re.MULTILINE)
    assert "openvino" in pins
    assert not {"tensorflow", "tensorflow-cpu", "keras", "mlflow", "mlflow-skinny", "boto3"} & set(pins)


def test_the_serving_image_starts_a_model_server_with_flags_that_it_takes(tmp_path):
    image = read("serving")
    assert image.words("ENTRYPOINT") == ["python", "-m", "serving.model_server"]
    for name in ("labels.config", "access-tokens"):
        (tmp_path / name).touch(0o600)
    flags = parse_flags([re.sub("=/(?:base|run/secrets)/", f"={tmp_path}/", word) for word in image.words("CMD")])
    assert flags.access_tokens_file
    assert (flags.port, flags.rest_api_port, flags.default_label) == (8500, 8501, "stable")
    assert "8501/healthz" in image.last("HEALTHCHECK")


def test_both_locked_files_of_the_training_image_agree_wherever_they_name_the_same_package():
    versions: dict[str, set[str]] = {}
    for locked in read("training").environment_requirements():
        for name, version in re.findall(r"^([\w.-]+)==(\S+)", (ROOT / locked).read_text(), re.MULTILINE):
            versions.setdefault(name, set()).add(version)
    assert {name for name, each in versions.items() if len(each) > 1} == set()
    assert {"tensorflow-cpu", "mlflow", "kubernetes"} <= set(versions)
