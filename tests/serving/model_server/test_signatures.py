"""With --trusted_keys, what nobody who is trusted has signed is not served, and says why."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from serving.model_server.choosing import Chooser
from serving.model_server.config import ModelSettings, VersionPolicy
from serving.model_server.flag_parsing import parse_flags
from serving.model_server.lifecycle import ServedModel
from serving.model_server.load_rules import LoadRules
from serving.model_server.loading import checked_loader
from serving.model_server.signatures import Signatures
from serving.model_server.version import State
from serving.servable.layout import published_path
from serving.stores import open_store
from serving.wire.status_pb2 import Code
from slipway.errors import InputError, IntegrityError
from tests.serving.model_server.fakes import FakeLoads, put_version
from tests.serving.model_server.processes import model_server
from tests.serving.model_server.servables import WEIGHTS, seal_servable
from tests.serving.stores.bundles import bundle_of
from tests.signed import FORGERIES, make_keys, signed

VARIANT = {"onnx-fp32": 20.0}


class Base:
    """A base path with versions 1 and 2 of `digits`, signed by the good key. See Place."""

    def __init__(self, folder):
        self.keys = make_keys(folder / "keys")
        self.directory = folder / "base" / "digits"
        self.directory.parent.mkdir()
        self.store = open_store(str(self.directory.parent))
        self.digests = {}
        for version in (1, 2):
            source = folder / f"source-{version}"
            self.digests[version] = digest = seal_servable(source, VARIANT, weights=WEIGHTS * version)
            signature = signed("digits", version, digest, self.keys.good)
            self.store.publish("digits", version, replace(bundle_of(source, digest), signature=signature))

    @property
    def second(self):
        return self.directory / "2"

    def read(self, path):
        return (self.second / published_path(path)).read_bytes()

    def write(self, path, data):
        file = self.second / published_path(path)
        file.unlink() if data is None else file.write_bytes(data)

    def sign(self, signer):
        self.put_signature(signed("digits", 2, self.digests[2], signer))

    def put_signature(self, data):
        (self.directory / "2.signature.json").write_bytes(data)

    def put_older_back(self):
        shutil.rmtree(self.second)
        shutil.copytree(self.directory / "1", self.second)
        shutil.copy(self.directory / "1.signature.json", self.directory / "2.signature.json")

    @property
    def signatures(self):
        return Signatures(self.keys.trusted)

    def load(self, version=2, choose=None):
        loader = checked_loader(choose or Chooser(variant="onnx-fp32"), signatures=self.signatures)
        return loader(self.directory / str(version)).runtime.close()


@pytest.fixture
def base(tmp_path):
    return Base(tmp_path)


def test_what_a_trusted_key_has_signed_is_loaded(base):
    base.load(1)
    base.load(2)


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_version_that_is_not_as_it_was_signed_is_not_loaded(base, forgery):
    forge, why = FORGERIES[forgery]
    forge(base, base.keys)
    chosen = []
    with pytest.raises(IntegrityError, match=why) as caught:
        base.load(choose=lambda *_: chosen.append(1))
    assert str(base.second) in str(caught.value)
    assert chosen == []
    base.load(1)


def test_an_added_file_is_not_made_good_by_a_manifest_that_lists_it(base):
    """Who may write to the base path can seal anew, and not sign."""
    bundle = base.directory.parent.parent / "source-2"
    (bundle / "added.json").write_text("{}")
    seal_servable_again(bundle)
    for file in ("manifest.json", "added.json"):
        base.write(file, (bundle / file).read_bytes())
    with pytest.raises(IntegrityError, match="its signature is for digits version 2 with manifest"):
        base.load()


def seal_servable_again(bundle):
    import json

    from serving.servable.manifest import VariantRecord, read_manifest, seal

    manifest = read_manifest(bundle / "manifest.json")
    (bundle / "manifest.json").unlink()
    facts = {name: getattr(manifest, name) for name in ("run_id", "git_commit", "dataset_digest", "image_size")}
    records = {name: VariantRecord(each.tolerance, each.parity) for name, each in manifest.variants.items()}
    seal(bundle, **facts, classes=3, variants=records, signatures={}, max_pixels=manifest.max_pixels)
    assert "added.json" in json.loads((bundle / "manifest.json").read_text())["files"]


def test_a_version_without_a_signature_is_not_loaded(base):
    (base.directory / "2.signature.json").unlink()
    with pytest.raises(IntegrityError, match="digits version 2: is not signed"):
        base.load()


def test_a_version_without_a_manifest_is_not_loaded(base, tmp_path):
    foreign = put_version(base.directory, 7, 1)
    with pytest.raises(IntegrityError, match="7: has no manifest; expected a version that Slipway sealed and signed"):
        base.load(7, choose=lambda *_: [])
    assert foreign.exists()


def test_the_signature_of_another_model_is_none(base):
    shutil.copytree(base.directory, base.directory.parent / "letters")
    loader = checked_loader(Chooser(variant="onnx-fp32"), signatures=base.signatures)
    with pytest.raises(IntegrityError, match="its signature is for digits version 2"):
        loader(base.directory.parent / "letters" / "2")


@pytest.mark.parametrize(("name", "taken"), [("digits", True), ("digits-canary", True), ("letters", False)])
def test_a_version_is_served_under_the_name_that_it_is_signed_for_or_as_its_canary(base, name, taken):
    if taken:
        base.signatures.check_name(name, base.second)
        return
    loads = FakeLoads()
    rules = LoadRules(loads, admit=base.signatures.check_name)
    attempt = rules.attempt(name, "tensorflow", base.second, lambda: False)
    assert attempt.failure.code == Code.DATA_LOSS
    assert "to be served as letters; expected digits" in str(attempt.failure)


def test_a_key_that_is_revoked_while_the_server_runs_counts_no_more_from_the_next_load_on(base):
    signatures = base.signatures
    (base.keys.folder / "unknown.pub.pem").rename(base.keys.trusted / "new.pem")
    loader = checked_loader(Chooser(variant="onnx-fp32"), signatures=signatures)
    loader(base.second).runtime.close()
    base.keys.revoke(base.keys.good)
    with pytest.raises(IntegrityError, match="is revoked"):
        loader(base.second)
    base.sign(base.keys.unknown)
    loader(base.second).runtime.close()


def test_what_was_refused_for_its_signature_is_loaded_once_it_has_a_good_one(base):
    base.sign(base.keys.unknown)
    rules = LoadRules(checked_loader(Chooser(variant="onnx-fp32"), signatures=base.signatures))
    model = ServedModel(ModelSettings("digits", base.directory, VersionPolicy(specific=frozenset({2}))), rules)
    model.look()
    assert not model.wait(60)
    assert "is not among those trusted" in str(model.versions()[0].failure)
    model.look()
    assert model.versions()[0].state == State.END
    base.sign(base.keys.good)
    model.look()
    assert model.wait(60)
    model.retire()


@pytest.mark.parametrize("place", ["digits/keys", "keys"])
def test_keys_inside_the_base_path_that_they_protect_are_refused(base, place):
    inside = base.directory.parent / place
    base.keys.trusted.rename(inside)
    loader = checked_loader(Chooser(variant="onnx-fp32"), signatures=Signatures(inside))
    with pytest.raises(InputError, match="which they are to protect"):
        loader(base.second)


def test_keys_inside_a_base_path_that_is_a_link_are_refused(base, tmp_path):
    base.keys.trusted.rename(base.directory / "keys")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "digits").symlink_to(base.directory)
    with pytest.raises(InputError, match="which they are to protect"):
        Signatures(base.directory / "keys").check_place(tmp_path / "models" / "digits")


def test_a_model_at_the_root_of_the_file_system_leaves_a_place_for_keys(base):
    base.signatures.check_place(Path("/digits"))


def test_keys_inside_the_base_path_stop_the_start(base, tmp_path):
    inside = base.directory.parent / "keys"
    base.keys.trusted.rename(inside)
    with model_server(tmp_path / "log", f"--model_base_path={base.directory}", f"--trusted_keys={inside}") as server:
        assert server.process.wait(60) == 2
        assert server.log.startswith(
            f"error: trusted keys {inside}: lie inside {base.directory.parent}, which they are"
        )
        assert server.log.count("\n") == 1


def test_keys_that_cannot_be_used_stop_the_start(base, tmp_path):
    flags = ("--model_base_path=x", f"--trusted_keys={tmp_path / 'gone'}")
    with pytest.raises(InputError, match=r"--trusted_keys=.*gone: no such directory"):
        parse_flags(flags)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no public key"):
        Signatures(tmp_path / "empty")


@pytest.mark.integration
def test_a_server_serves_what_is_signed_and_says_why_it_does_not_serve_the_rest(base, tmp_path):
    base.sign(base.keys.revoked)
    config = tmp_path / "models.config"
    config.write_text(
        f'model_config_list {{ config {{ name: "digits" base_path: "{base.directory}" model_platform: "tensorflow" '
        "model_version_policy { all {} } } }"
    )
    flags = (f"--model_config_file={config}", "--runtime=onnxruntime", f"--trusted_keys={base.keys.trusted}")
    with model_server(tmp_path / "log", *flags) as server:
        server.wait_for(lambda: server.states("digits") == {1: "AVAILABLE", 2: "END"})
        _, answer = server.request("GET", "/v1/models/digits")
        told = {each["version"]: each["status"]["error_message"] for each in answer["model_version_status"]}
        assert re.search(f"digits version 2: key {base.keys.revoked.key_id} is revoked", told["2"])
        base.sign(base.keys.good)
        server.wait_for(lambda: server.states("digits") == {1: "AVAILABLE", 2: "AVAILABLE"})
        assert server.stop() == 0
