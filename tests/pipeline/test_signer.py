"""Who signs: a key in a file, or a program that has it elsewhere; and what is said when neither can."""

import os
import re
import stat
import sys
from pathlib import Path

import pytest

from pipeline.config import config_to_json, load_config
from pipeline.signing.config import SigningConfig
from pipeline.signing.signer import configured_signer
from slipway.errors import InputError, UnavailableError
from slipway.keys import create_key, public_half
from slipway.statement import Statement, TrustedKeys, envelope
from tests.docs.pages import ROOT, blocks

STATEMENT = Statement("digits", 3, "ab" * 32)
# What a KMS's client does: it reads, signs, prints. {key}: a private key's file.
PROGRAM = """
import base64, os, sys
from pathlib import Path
from slipway.keys import load_signer
assert "SLIPWAY_SIGNING_PASSPHRASE" not in os.environ
print(base64.b64encode(load_signer(Path(sys.argv[1])).sign(sys.stdin.buffer.read())).decode())
"""


@pytest.fixture
def key(tmp_path):
    create_key(tmp_path / "mine.key")
    return tmp_path / "mine.key"


def command(program, *words):
    return " ".join([sys.executable, "-c", f"'{program}'", *map(str, words)])


def by_command(key, program, *words):
    return configured_signer(SigningConfig(command=command(program, *words), public_key=str(public_half(key))))


def test_nobody_signs_if_nobody_is_named():
    assert configured_signer(SigningConfig()) is None


def test_a_key_in_a_file_signs_with_its_passphrase_from_the_environment(tmp_path, monkeypatch):
    key_id = create_key(tmp_path / "mine.key", b"secret words")
    monkeypatch.setenv("SLIPWAY_SIGNING_PASSPHRASE", "secret words")
    signer = configured_signer(SigningConfig(key=str(tmp_path / "mine.key")))
    assert signer.key_id == key_id
    (tmp_path / "mine.key").unlink()
    assert TrustedKeys(tmp_path).verify(envelope(STATEMENT, signer), STATEMENT) == key_id


def test_a_program_signs_what_it_reads_and_is_not_told_the_passphrase(key, monkeypatch):
    monkeypatch.setenv("SLIPWAY_SIGNING_PASSPHRASE", "secret words")
    signed = envelope(STATEMENT, by_command(key, PROGRAM, key))
    assert TrustedKeys(key.parent).verify(signed, STATEMENT)


def test_no_shell_reads_the_program_s_line(key, tmp_path):
    touch = f"touch {tmp_path / 'touched'}"
    for words in (f"; {touch}", f"&& {touch}", f"$({touch})", f"| {touch}", f"`{touch}`"):
        by_command(key, PROGRAM, key, words).sign(b"x")
    assert not (tmp_path / "touched").exists()


def test_the_program_of_the_page_signs(key, tmp_path):
    (script,) = blocks(ROOT / "docs" / "signed-models.md", "sh")
    program = tmp_path / "sign"
    program.write_text(script)
    program.chmod(0o755)
    signer = configured_signer(SigningConfig(command=f"{program} {key}", public_key=str(public_half(key))))
    assert TrustedKeys(key.parent).verify(envelope(STATEMENT, signer), STATEMENT) == signer.key_id


@pytest.mark.parametrize(
    ("program", "error", "says"),
    [
        ("print(1, end=chr(65))", InputError, "its output is no base64"),
        ("print(chr(65) * 88)", InputError, "is no Ed25519 signature by signing.public_key"),
        ("pass", InputError, "is no Ed25519 signature by signing.public_key; expected 64 bytes"),
        ("import sys; sys.exit(chr(110) + chr(111))", UnavailableError, r"exit code 1 \(no\)"),
    ],
)
def test_a_program_that_does_not_sign_is_told_from_one_that_does(key, program, error, says):
    with pytest.raises(error, match=says) as caught:
        by_command(key, program).sign(b"x")
    assert "\n" not in str(caught.value)


def test_another_key_s_signature_is_not_taken(key, tmp_path):
    create_key(tmp_path / "other.key")
    with pytest.raises(InputError, match=r"by signing\.public_key"):
        by_command(key, PROGRAM, tmp_path / "other.key").sign(b"x")


def test_a_program_that_is_not_there_is_named(key):
    signer = configured_signer(SigningConfig(command="gone-kms sign", public_key=str(public_half(key))))
    with pytest.raises(InputError, match=r"signing\.command \(gone-kms\): cannot be started"):
        signer.sign(b"x")


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"key": "a", "command": "b", "public_key": "c"}, "expected one thing that signs"),
        ({"command": "b"}, "go together"),
        ({"public_key": "c"}, "go together"),
        ({"command": "b 'c", "public_key": "c"}, "No closing quotation"),
    ],
)
def test_settings_that_cannot_be_are_refused_with_the_file_that_says_so(tmp_path, settings, problem):
    file = tmp_path / "mine.yaml"
    file.write_text("signing:\n" + "".join(f'  {key}: "{value}"\n' for key, value in settings.items()))
    with pytest.raises(InputError, match=problem) as caught:
        load_config(str(file))
    assert str(file) in str(caught.value)


def test_a_configuration_of_signing_reads_back(tmp_path):
    config = load_config(None, {"signing.key": "mine.key", "gate.require_signature": True, "signing.trusted_keys": "t"})
    file = tmp_path / "c.yaml"
    file.write_text(config_to_json(config))
    assert load_config(str(file)) == config


def test_a_key_for_signing_is_nobody_else_s_and_never_in_a_run(key, monkeypatch):
    """What a run logs of its configuration has no section that could hold a secret, or start a program elsewhere."""
    from types import SimpleNamespace

    from pipeline import run_inputs

    logged = {}
    run = SimpleNamespace(
        artifacts=lambda _folder: [],
        params=logged.update,
        tags=lambda _tags: None,
        dataset=lambda *_words: None,
        text=logged.__setitem__,
    )
    monkeypatch.setattr("pipeline.data.mlflow_dataset", lambda _dataset: None)
    dataset = SimpleNamespace(
        digest="d", labels=("a",), place=str(key.parent), source="digits", train=(), validation=()
    )
    config = load_config(None, {"signing.command": "kms --token hunter2", "signing.public_key": "k.pem"})
    run_inputs.log_inputs(config, dataset, run)
    assert "hunter2" not in str(logged)
    assert re.search('"command": ""', logged["config.json"])


def test_a_private_key_s_file_is_readable_by_its_owner_alone_whatever_the_umask(tmp_path):
    before = os.umask(0)
    try:
        create_key(tmp_path / "mine.key")
    finally:
        os.umask(before)
    assert stat.S_IMODE(Path(tmp_path / "mine.key").stat().st_mode) == 0o600
