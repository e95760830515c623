"""The signer that the configuration names: a private key in a file, or a program that has the key elsewhere."""

import base64
import binascii
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from pipeline.signing.config import SigningConfig
from slipway.errors import InputError, UnavailableError
from slipway.keys import Signer, Verifies, load_public_key, load_signer

PASSPHRASE = "SLIPWAY_SIGNING_PASSPHRASE"  # noqa: S105 - its name # nosec B105
_TIMEOUT_S = 60.0
_LENGTH = 64  # bytes of an Ed25519 signature


def configured_signer(config: SigningConfig) -> Signer | None:
    """Who signs, or None if nobody is to; InputError for a key that cannot be used."""
    if config.key:
        return load_signer(Path(config.key), passphrase())
    if config.command:
        key_id, verifies = load_public_key(Path(config.public_key))
        words = config.words()
        return Signer(key_id, lambda data: _signed_by(words, data, verifies))
    return None


def passphrase() -> bytes | None:
    """The private key's, which only the environment tells; None if it tells none."""
    return os.environ.get(PASSPHRASE, "").encode() or None


def _signed_by(words: Sequence[str], data: bytes, verifies: Verifies) -> bytes:
    """What the program answers: the 64 bytes of the signature, in base64. It reads `data` from its standard input."""
    place = f"signing.command ({words[0]})"
    # The passphrase is of another key than the program's.
    environment = {name: value for name, value in os.environ.items() if name != PASSPHRASE}
    try:
        done = subprocess.run(words, input=data, capture_output=True, timeout=_TIMEOUT_S, check=False, env=environment)
    except subprocess.TimeoutExpired as error:
        raise UnavailableError(
            f"{place}: no answer within {_TIMEOUT_S:.0f} s; expected a signature. Run `slipway register` again."
        ) from error
    except (OSError, ValueError) as error:
        raise InputError(
            f"{place}: cannot be started ({error}); expected a program. Correct signing.command."
        ) from error
    if done.returncode:
        said = " ".join(done.stderr.decode(errors="replace").split())[-200:]
        raise UnavailableError(
            f"{place}: exit code {done.returncode} ({said}); expected a signature. Mend what it says, then run "
            "`slipway register` again."
        )
    try:
        signature = base64.b64decode(b"".join(done.stdout.split()), validate=True)
    except binascii.Error as error:
        raise InputError(f"{place}: its output is no base64 ({error}); expected a signature in base64.") from error
    if len(signature) != _LENGTH or not verifies(signature, data):
        raise InputError(
            f"{place}: its output is no Ed25519 signature by signing.public_key; expected {_LENGTH} bytes of that key. "
            "Correct the public key or the command."
        )
    return signature
