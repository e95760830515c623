"""A model's platform says what loads its versions, and stays what it was."""

from dataclasses import replace

import pytest

from serving.model_server.errors import ServingError
from serving.model_server.load_rules import LoadRules
from serving.model_server.models import Models
from serving.wire.status_pb2 import Code
from slipway.errors import InputError
from tests.serving.model_server.fakes import FakeLoads, eventually, put_version, settings, spec


@pytest.fixture
def loads():
    return {"tensorflow": FakeLoads(), "onnx": FakeLoads()}


@pytest.fixture
def models(loads):
    return Models(LoadRules(loads["tensorflow"], {"onnx": loads["onnx"]}))


def of_platform(base, platform, name="m"):
    return replace(settings(base, name=name), platform=platform)


def test_each_version_is_loaded_by_what_its_models_platform_names(tmp_path, loads, models):
    paths = {name: put_version(tmp_path / name, 1, 1) for name in loads}
    models.configure([of_platform(tmp_path / name, name, name) for name in loads])
    eventually(models.ready)
    for name, path in paths.items():
        assert list(loads[name].loaded) == [str(path)]


def test_a_served_models_platform_cannot_change(tmp_path, models):
    put_version(tmp_path / "m", 1, 1)
    models.configure([of_platform(tmp_path / "m", "tensorflow")])
    eventually(models.ready)
    message = "For model m platform was tensorflow and new platform requested is onnx"
    changed = [of_platform(tmp_path / "m", "onnx"), of_platform(tmp_path / "new", "onnx", "new")]
    with pytest.raises(InputError, match=message):
        models.configure(changed)
    with pytest.raises(ServingError, match=message) as raised:
        models.reload(changed)
    assert raised.value.code == Code.INVALID_ARGUMENT
    assert [model.name for model in models.served()] == ["m"]
    with models.acquire(spec()) as lease:
        assert lease.number == 1


def test_a_model_may_come_back_with_another_platform(tmp_path, loads, models):
    put_version(tmp_path / "m", 1, 1)
    models.configure([of_platform(tmp_path / "m", "tensorflow")])
    eventually(models.ready)
    models.configure([])
    eventually(lambda: loads["tensorflow"].loaded[str(tmp_path / "m" / "1")].closed)
    models.configure([of_platform(tmp_path / "m", "onnx")])
    eventually(models.ready)
    assert list(loads["onnx"].loaded) == [str(tmp_path / "m" / "1")]
