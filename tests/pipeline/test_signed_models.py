"""Where signatures are required, what nobody who is trusted has signed is not published, and what is live stays."""

import json
import re
import shutil

import pytest

from pipeline.publication import publish
from registry.signing import SIGNATURE, signature_of, verify_version
from slipway.errors import InputError, IntegrityError
from slipway.statement import TrustedKeys
from tests.pipeline.reconcile_world import NAME
from tests.pipeline.signed_world import PublishedPlace, SignedWorld
from tests.signed import FORGERIES

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return SignedWorld(tmp_path_factory.mktemp("signed"))


@pytest.fixture
def world(made, tmp_path):
    """The world, whose versions and keys are afterwards as they were; an empty base path."""
    kept = tmp_path / "kept"
    shutil.copytree(made.servable(2, NAME), kept)
    tags = made.tags(2)
    revoked = (made.keys.trusted / "revoked.txt").read_text()
    yield made
    shutil.rmtree(made.servable(2, NAME))
    shutil.copytree(kept, made.servable(2, NAME))
    made.registry.delete_tags(NAME, 2, made.tags(2).keys() - tags.keys())
    made.registry.set_tags(NAME, 2, tags)
    (made.keys.trusted / "revoked.txt").write_text(revoked)
    for alias in ("champion", "challenger"):
        made.registry.delete_alias(NAME, alias)
    for path in made.base.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def version(world, number=2):
    return world.registry.version(NAME, number)


def export(world, patch, number=2, *words):
    return world.call(patch, "export", "--version", number, *words, "--name", NAME, "--base", world.base)


def published(world):
    with world.scene() as scene:
        return scene.store.versions(NAME)


def test_a_signed_version_is_published_with_its_signature(world, monkeypatch):
    done = export(world, monkeypatch, 2, *world.signing_words())
    assert done.code == 0, done.err
    assert (world.base / NAME / "2.signature.json").read_bytes() == signature_of(version(world))


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_version_that_is_not_as_it_was_signed_is_not_exported(world, monkeypatch, forgery):
    forge, why = FORGERIES[forgery]
    forge(world, world.keys)
    done = export(world, monkeypatch, 2, *world.signing_words())
    assert done.code == 1
    assert re.search(why, done.error), done.error
    assert published(world) == ()
    assert not (world.base / NAME / "2.signature.json").exists()


@pytest.mark.parametrize("forgery", ["a changed byte", "a missing file", "an added file"])
def test_a_published_version_that_was_changed_is_not_exported_again(world, monkeypatch, forgery):
    assert export(world, monkeypatch, 2, *world.signing_words()).code == 0
    forge, why = FORGERIES[forgery]
    forge(PublishedPlace(world), world.keys)
    done = export(world, monkeypatch, 2, *world.signing_words())
    assert done.code == 1
    assert re.search(why, done.error), done.error


def test_nothing_is_fetched_of_a_version_that_is_not_signed(world, monkeypatch):
    world.registry.delete_tags(NAME, 2, [SIGNATURE])
    fetched = []
    monkeypatch.setattr("registry.client.Registry.download", lambda *words: fetched.append(words))
    done = export(world, monkeypatch, 2, *world.signing_words())
    assert (done.code, fetched) == (1, [])
    assert "digits version 2: is not signed" in done.error


def test_where_no_signature_is_required_none_is_asked_for_and_one_that_is_there_goes_along(world, monkeypatch):
    world.sign(world.keys.unknown)
    assert export(world, monkeypatch).code == 0
    assert (world.base / NAME / "2.signature.json").read_bytes() == signature_of(version(world))


def test_a_signature_beside_the_published_version_is_replaced_by_the_registry_s_good_one(world):
    publish(world.config(), world.registry, version(world))
    beside = world.base / NAME / "2.signature.json"
    beside.write_bytes(b"another")
    publish(world.config(), world.registry, version(world))
    assert beside.read_bytes() == signature_of(version(world))


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("--require-signature", "true"), r"signing\.trusted_keys is missing"),
        (("--require-signature", "true", "--trusted-keys", "gone"), "holds no public key"),
    ],
)
def test_a_signature_that_is_required_and_cannot_be_verified_is_an_error_of_the_input(
    world, monkeypatch, words, problem
):
    done = export(world, monkeypatch, 2, *words)
    assert done.code == 2
    assert re.search(problem, done.error), done.error


def test_keys_inside_the_base_path_are_refused(world, monkeypatch):
    shutil.copytree(world.keys.trusted, world.base / "keys")
    done = export(world, monkeypatch, 2, "--require-signature", "true", "--trusted-keys", world.base / "keys")
    assert done.code == 2
    assert "which they are to protect" in done.error


def test_the_gate_refuses_an_unsigned_version_as_it_refuses_a_missing_number(world, monkeypatch):
    def rules():
        done = world.call(monkeypatch, "gate", "--version", 2, "--name", NAME, *world.signing_words(), "--json")
        assert done.code == 3  # it has no evaluation
        return {each["rule"]: each for each in json.loads(done.out)["rules"]}

    assert rules()["signature"]["passed"]
    world.registry.delete_tags(NAME, 2, [SIGNATURE])
    found = rules()["signature"]
    assert (found["passed"], found["measured"]) == (False, 0)
    assert "is not signed" in found["note"]


def test_force_overrides_the_gate_and_not_a_signature(world, monkeypatch):
    world.sign(world.keys.revoked)
    words = ("--version", 2, "--force", "--reason", "I want it", *world.words())
    done = world.call(monkeypatch, "promote", *words)
    assert done.code == 1
    assert "is revoked" in done.error
    assert (world.registry.aliases(NAME), published(world)) == ({}, ())


def test_a_run_that_asks_for_signatures_cannot_be_outdone_and_one_that_does_not_changes_nothing(world, monkeypatch):
    """A run's configuration lies where others may write."""
    from registry.signing import SIGNATURE as TAG

    world.registry.delete_tags(NAME, 2, [TAG])
    text = json.dumps({"gate": {"require_signature": False}, "signing": {"trusted_keys": "", "command": ""}})
    world.mlflow.log_text(version(world).run_id, text, "config.json")
    done = world.call(monkeypatch, "gate", "--version", 2, "--name", NAME, *world.signing_words(), "--json")
    assert "signature" in {each["rule"] for each in json.loads(done.out)["rules"]}


def test_what_runs_code_that_no_signature_covers_is_refused(world, monkeypatch):
    world.registry.set_alias(NAME, "champion", 1)
    for words in (("serve", "--target", "mlflow"), ("reconcile", "--watch", "--target", "mlflow")):
        done = world.call(monkeypatch, *words, "--name", NAME, "--base", world.base, *world.signing_words())
        assert done.code == 2
        assert "target mlflow: runs what lies in a version's code/" in done.error


def test_keys_are_made_listed_and_revoked_and_versions_signed_again_by_command(world, monkeypatch):
    def call(*words):
        return world.call(monkeypatch, "keys", *words)

    fresh = world.folder / "fresh.key"
    monkeypatch.setenv("SLIPWAY_SIGNING_PASSPHRASE", "secret words")
    made = call("create", fresh)
    assert made.code == 0, made.err
    key_id = made.found(r"^key ([0-9a-f]{32})")
    assert "secret words" not in made.out
    trusted = ("--trusted-keys", world.keys.trusted)
    sign = ("sign", "--name", NAME, "--base", world.base, "--version", 2, "--signing-key", fresh, *trusted)
    signed = call(*sign)
    assert signed.code == 0, signed.err
    assert f"signed by key {key_id}, was signed by key {world.keys.good.key_id}" in signed.out
    again = call(*sign)
    assert again.code == 1
    assert "is not among those trusted" in again.error
    assert "--force" in again.error
    with pytest.raises(IntegrityError):
        verify_version(version(world), TrustedKeys(world.keys.trusted))
    shutil.copy(fresh.with_suffix(".pub.pem"), world.keys.trusted)
    try:
        assert call(*sign).code == 0
        assert verify_version(version(world), TrustedKeys(world.keys.trusted)) == key_id
        assert call("revoke", key_id, "--reason", "lost", *trusted).code == 0
        listed = call("list", *trusted, "--json")
        states = {each["key_id"]: each["state"] for each in json.loads(listed.out)}
        assert (states[key_id], states[world.keys.good.key_id]) == ("revoked", "trusted")
        with pytest.raises(IntegrityError, match="is revoked"):
            verify_version(version(world), TrustedKeys(world.keys.trusted))
    finally:
        (world.keys.trusted / "fresh.pub.pem").unlink()
    monkeypatch.delenv("SLIPWAY_SIGNING_PASSPHRASE")
    assert "and its passphrase if it has one" in call(*sign).error


def test_verify_says_who_signed_a_version(world, monkeypatch):
    publish(world.config(), world.registry, version(world))
    words = ("verify", "--version", 2, "--name", NAME, "--base", world.base, "--trusted-keys", world.keys.trusted)
    done = world.call(monkeypatch, *words)
    assert done.code == 0, done.err
    assert f"signed by key {world.keys.good.key_id}" in done.out
    (world.base / NAME / "2.signature.json").unlink()
    beside = world.call(monkeypatch, *words)
    assert (beside.code, beside.out.count("WRONG"), "is not signed" in beside.out) == (1, 1, True)
    world.sign(world.keys.unknown)
    assert world.call(monkeypatch, *words).code == 1


@pytest.mark.parametrize("forgery", ["a changed byte", "a missing file", "an added file"])
def test_what_was_changed_does_not_become_good_by_being_signed_again(world, monkeypatch, forgery):
    forge, why = FORGERIES[forgery]
    forge(world, world.keys)
    before = signature_of(version(world))
    words = ("--name", NAME, "--base", world.base, "--version", 2, "--signing-key", world.keys.file("good"), "--force")
    done = world.call(monkeypatch, "keys", "sign", *words)
    assert done.code == 1
    assert re.search(why, done.error), done.error
    assert signature_of(version(world)) == before


def test_to_remove_its_signature_does_not_make_what_was_changed_good_either(world, monkeypatch):
    words = ("--name", NAME, "--base", world.base, "--version", 2)
    assert world.call(monkeypatch, "export", *words).code == 0
    world.put_older_back()
    world.registry.delete_tags(NAME, 2, [SIGNATURE])
    key = ("--signing-key", world.keys.file("good"), "--trusted-keys", world.keys.trusted)
    done = world.call(monkeypatch, "keys", "sign", *words, *key)
    assert done.code == 1
    assert "To sign it all the same" in done.error
    assert signature_of(version(world)) is None


def test_a_deployment_under_another_name_than_is_signed_is_refused(world):
    from pipeline.plugin.standalone import Standalone

    with world.scene() as scene, pytest.raises(InputError, match="a signature holds for the name digits alone"):
        Standalone(scene, "mine").go_live(version(world), "why not")
    assert not (world.base / "mine").exists()
