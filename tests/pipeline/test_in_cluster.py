import dataclasses

import pytest
import yaml

from pipeline.config import Config, as_yaml
from pipeline.in_cluster import manifests, served_version, stream, write_manifests
from registry.client import ModelVersion
from registry.policy import Policy
from registry.register import MANIFEST_DIGEST
from serving.kubernetes.spec import ServedVersion
from slipway.errors import InputError
from tests.pipeline.registered_world import RegisteredWorld

DIGEST = "ab" * 32
SERVED = ServedVersion("pets", 3, DIGEST, "s3://b/p")


@pytest.fixture(scope="module")
def registered(tmp_path_factory):
    world = RegisteredWorld(tmp_path_factory.mktemp("registered"))
    world.made = world.version()
    return world


def exported(world, patch, *words):
    return world.call(patch, "export", "--name", "digits", "--version", 1, "--base", "s3://b/p", *words)


def test_export_writes_a_folder_that_names_the_versions_own_digest(registered, monkeypatch, tmp_path):
    done = exported(registered, monkeypatch, "--target", "kubernetes", "--to", tmp_path / "k", "--replicas", 3)
    assert done.code == 0, done.err
    assert f"kubectl apply -k {tmp_path / 'k'}" in done.out
    kustomization = yaml.safe_load((tmp_path / "k" / "kustomization.yaml").read_text())
    files = {path.name for path in (tmp_path / "k").iterdir()}
    assert files == {*kustomization["resources"], "kustomization.yaml"}
    deployment = yaml.safe_load((tmp_path / "k" / "digits-v1-deployment.yaml").read_text())
    assert deployment["metadata"]["annotations"]["slipway/digest"] == registered.made.tags[MANIFEST_DIGEST]
    assert deployment["spec"]["replicas"] == 3
    assert not registered.base.exists()  # nothing was published


def test_export_to_a_dash_is_a_stream_of_the_same_objects(registered, monkeypatch):
    done = exported(registered, monkeypatch, "--target", "kserve", "--to", "-", "--canary-percent", 10)
    assert done.code == 0, done.err
    kinds = [each["kind"] for each in yaml.safe_load_all(done.out)]
    assert kinds == ["ServiceAccount", "ServingRuntime", "ServingRuntime", "InferenceService"]
    assert "canaryTrafficPercent: 10" in done.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--target", "kubernetes"), "--target kubernetes --to DIR"),
        (("--to", "x"), "--target kubernetes --to DIR"),
        (("--target", "nomad", "--to", "-"), "expected one of kubernetes, kserve"),
        (("--target", "kubernetes", "--variant", "onnx-fp32", "--to", "x"), "exclude each other"),
        (("--target", "kubernetes", "--to", "-", "--canary-percent", 5), "expected --target kserve"),
        (("--canary-percent", 5), "expected --target kserve"),
        (("--target", "kserve", "--to", "-", "--canary-percent", 101), "expected 0 to 100"),
        (("--target", "kserve", "--to", "-", "--base", "here"), "expected s3://BUCKET/PREFIX"),
        (("--target", "kubernetes", "--to", "no/such/folder"), "a folder that exists"),
        (("--target", "kubernetes", "--to", "-", "--server-engine", "triton"), "--server-engine"),
    ],
)
def test_what_cannot_be_exported_is_said(registered, monkeypatch, words, said):
    done = exported(registered, monkeypatch, *words)
    assert done.code == 2
    assert said in done.err


def version(**tags):
    return ModelVersion("pets", 3, "", "", "None", (), tags, 0, "", None)


def test_where_signatures_are_required_the_cluster_has_to_ask_for_them(monkeypatch):
    monkeypatch.setattr("pipeline.in_cluster.verified_signature", lambda _config, _version: None)
    config = Config(base="s3://b/p", gate=Policy(require_signature=True))
    with pytest.raises(InputError, match=r"kubernetes\.trusted_keys_map is missing"):
        served_version(config, version(**{MANIFEST_DIGEST: DIGEST}))
    asking = dataclasses.replace(config.kubernetes, trusted_keys_map="keys")
    served = served_version(dataclasses.replace(config, kubernetes=asking), version(**{MANIFEST_DIGEST: DIGEST}))
    assert served.digest == DIGEST


def test_a_folder_that_is_there_keeps_its_other_files(tmp_path):
    (tmp_path / "mine.yaml").write_text("mine")
    write_manifests(manifests(SERVED, "kubernetes"), tmp_path)
    again = {path: path.read_text() for path in tmp_path.iterdir()}
    write_manifests(manifests(SERVED, "kubernetes"), tmp_path)
    assert {path: path.read_text() for path in tmp_path.iterdir()} == again
    assert (tmp_path / "mine.yaml").read_text() == "mine"


def test_a_text_of_several_lines_is_a_block_and_reads_back():
    document = {"b": "one\ntwo: 3\n", "a": ["x: y", "", None, True, "yes", "1"], "c": {}}
    text = as_yaml(document)
    assert "b: |\n  one\n" in text
    assert text.index("b:") < text.index("a:")
    assert yaml.safe_load(text) == document


def test_the_stream_has_no_references_from_one_object_to_another():
    assert "&id" not in stream(manifests(SERVED, "kubernetes"))
