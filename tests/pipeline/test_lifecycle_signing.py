"""`register` signs the version that it makes, and finishes a registration that was killed before it was signed."""

import json

import pytest

from pipeline.environment import bill_of_materials
from registry.signing import signature_of, verify_version
from serving.servable.manifest import read_manifest
from slipway.statement import TrustedKeys
from tests.pipeline.lifecycle_world import NAME
from tests.signed import make_keys

pytestmark = pytest.mark.integration
OTHER = "signed"


@pytest.fixture(scope="module")
def world(original, first, tmp_path_factory):
    return original.copy(tmp_path_factory.mktemp("signing") / "world")


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    return make_keys(tmp_path_factory.mktemp("keys") / "keys")


def register(world, patch, keys, name):
    run_id = world.registry.version(NAME, 1).run_id
    return world.call(patch, "register", "--run-id", run_id, "--name", name, "--signing-key", keys.file("good"))


def test_a_registration_that_was_killed_before_it_was_signed_is_finished_by_the_next(world, keys, monkeypatch):
    def die(*_words):
        raise KeyboardInterrupt

    with monkeypatch.context() as here:
        here.setattr("registry.signing.sign_version", die)
        assert register(world, here, keys, OTHER).code == 130
    assert signature_of(world.registry.version(OTHER, 1)) is None
    done = register(world, monkeypatch, keys, OTHER)
    assert done.code == 0, done.err
    version = world.registry.version(OTHER, 1)
    assert [each.version for each in world.registry.versions(OTHER)] == [1]
    assert verify_version(version, TrustedKeys(keys.trusted)) == keys.good.key_id
    signature = signature_of(version)
    assert register(world, monkeypatch, keys, OTHER).code == 0
    assert signature_of(world.registry.version(OTHER, 1)) == signature


def test_a_version_from_before_there_was_a_key_is_signed_by_registering_its_run_again(world, keys, monkeypatch):
    done = register(world, monkeypatch, keys, NAME)
    assert done.code == 0, done.err
    assert f"signed by key {keys.good.key_id}" in done.err
    assert verify_version(world.registry.version(NAME, 1), TrustedKeys(keys.trusted)) == keys.good.key_id


def test_the_servable_holds_the_bill_of_materials_of_the_training(world):
    servable = world.servable(1)
    assert "environment.cdx.json" in read_manifest(servable / "manifest.json").files
    assert (servable / "environment.cdx.json").read_bytes() == bill_of_materials()
    assert "tensorflow-cpu" in {each["name"] for each in json.loads(bill_of_materials())["components"]}


def test_a_key_that_cannot_be_used_is_said_before_anything_is_made(world, keys, monkeypatch):
    run_id = world.registry.version(NAME, 1).run_id
    words = ("register", "--run-id", run_id, "--name", "never", "--signing-key", keys.trusted / "good.pem")
    done = world.call(monkeypatch, *words)
    assert done.code == 2
    assert "cannot be read as a private key" in done.error
    assert "never" not in {each.name for each in world.registry.served_models(("never",))}
