"""Signed statements: these bytes are version N of this model, says the holder of a key.

A statement is an in-toto Statement v1 in a DSSE envelope, the form that OpenSSF's model signing uses; what it states is
ours: a model's name, the version's number, and the SHA-256 of its manifest. So no signed manifest can stand under
another number, or another name, than it was signed for. Signatures are Ed25519.

DSSE is the Dead Simple Signing Envelope, version 1.0, of secure-systems-lab; in-toto: https://in-toto.io/Statement/v1.
"""

import base64
import binascii
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from slipway.errors import InputError, IntegrityError
from slipway.keys import KEY_ID, REVOKED, Signer, public_keys, revoked_keys

PREDICATE = "https://slipway.dev/registered/v1"
_STATEMENT = "https://in-toto.io/Statement/v1"
_PAYLOAD_TYPE = "application/vnd.in-toto+json"
_LONGEST = 64 * 1024  # bytes of an envelope; ours have about a thousand


@dataclass(frozen=True)
class Statement:
    """That the manifest with this digest is the one of this version."""

    name: str
    version: int
    manifest_digest: str  # hex SHA-256

    def payload(self) -> bytes:
        """The bytes that are signed; the same for the same statement."""
        document = {
            "_type": _STATEMENT,
            "subject": [{"name": f"{self.name}/{self.version}", "digest": {"sha256": self.manifest_digest}}],
            "predicateType": PREDICATE,
            "predicate": {"name": self.name, "version": self.version},
        }
        return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def envelope(statement: Statement, signer: Signer) -> bytes:
    """The signed statement, as JSON."""
    payload = statement.payload()
    signature = signer.sign(_to_sign(payload))
    document = {
        "payloadType": _PAYLOAD_TYPE,
        "payload": _encoded(payload),
        "signatures": [{"keyid": signer.key_id, "sig": _encoded(signature)}],
    }
    return json.dumps(document, sort_keys=True).encode()


class TrustedKeys:
    """The public keys in a directory: `*.pem`, and `revoked.txt` with a key's id on each line.

    The directory is the verifier's own: it never lies in a store whose content it is to judge.
    """

    def __init__(self, directory: Path) -> None:
        """InputError for a file that is no public key, a `revoked.txt` that cannot be read, or no key at all.

        Keys that are all revoked are no error: then nobody is trusted.
        """
        self._place = directory
        self._keys = public_keys(directory)
        self._revoked = revoked_keys(directory / REVOKED)
        if not self._keys:
            raise InputError(
                f"{directory}: holds no public key; expected at least one KEY.pem. Copy the public half of a key that "
                "`slipway keys create` made into it."
            )

    def verify(self, data: bytes | None, expected: Statement) -> str:
        """The id of a trusted key that signed `expected`, by the envelope `data`; IntegrityError if none did."""
        place = f"{expected.name} version {expected.version}"
        if data is None:
            raise IntegrityError(f"{place}: is not signed; expected a signature. {_REMEDY}")
        payload, signatures = _opened(data, place)
        # Who signed comes first: what nobody who is trusted has signed is not even read.
        key_id = self._signer_of(payload, signatures, place)
        if payload != expected.payload():
            stated = _stated(payload, place)
            raise IntegrityError(
                f"{place}: its signature is for {stated.name} version {stated.version} with manifest "
                f"{stated.manifest_digest}; expected manifest {expected.manifest_digest}. {_REMEDY}"
            )
        return key_id

    def _signer_of(self, payload: bytes, signatures: Mapping[str, bytes], place: str) -> str:
        reasons = []
        for key_id, signature in signatures.items():
            if key_id in self._revoked:
                reasons.append(f"key {key_id} is revoked")
            elif key_id not in self._keys:
                reasons.append(f"key {key_id} is not among those trusted in {self._place}")
            elif self._keys[key_id](signature, _to_sign(payload)):
                return key_id
            else:
                reasons.append(f"key {key_id} did not make this signature")
        raise IntegrityError(f"{place}: {', '.join(reasons) or 'nobody signed it'}. {_REMEDY}")


def check_apart(trusted_keys: Path, protected: Path) -> None:
    """InputError if keys lie, or one is a link to, where what they judge lies: who writes there could trust himself."""
    inside = os.path.realpath(protected)
    for each in (trusted_keys, *sorted(trusted_keys.glob("*.pem")), trusted_keys / REVOKED):
        if Path(os.path.realpath(each)).is_relative_to(inside):
            raise InputError(
                f"trusted keys {each}: lie inside {protected}, which they are to protect; expected a directory "
                "elsewhere, that only who verifies can write. Move them."
            )


_REMEDY = "Sign it with a trusted key, or serve another version."


def _to_sign(payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding, version 1."""
    kind = _PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def _opened(data: bytes, place: str) -> tuple[bytes, dict[str, bytes]]:
    if len(data) > _LONGEST:
        raise _malformed(place, ValueError(f"{len(data)} bytes"))
    try:
        document = json.loads(data)
        _expect(document["payloadType"], _PAYLOAD_TYPE)
        signatures = {_checked_id(each["keyid"]): _decoded(each["sig"]) for each in document["signatures"]}
        return _decoded(document["payload"]), signatures
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _malformed(place, error) from error


def _checked_id(key_id: object) -> str:
    """It comes to stand in messages."""
    if not isinstance(key_id, str) or not KEY_ID.fullmatch(key_id):
        raise ValueError(f"{key_id!r:.60} where a key's id is expected")
    return key_id


def _stated(payload: bytes, place: str) -> Statement:
    """What the holder of a trusted key has signed."""
    try:
        document = json.loads(payload)
        (subject,) = document["subject"]
        predicate = document["predicate"]
        _expect(document["_type"], _STATEMENT)
        _expect(document["predicateType"], PREDICATE)
        stated = Statement(str(predicate["name"]), int(predicate["version"]), str(subject["digest"]["sha256"]))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise _malformed(place, error) from error
    if stated.payload() != payload:
        raise _malformed(place, ValueError("it says more than a statement does"))
    return stated


def _expect(found: object, expected: str) -> None:
    if found != expected:
        raise ValueError(f"{found!r:.60} where {expected!r} is expected")


def _malformed(place: str, error: Exception) -> IntegrityError:
    reason = " ".join(str(error).split())
    return IntegrityError(f"{place}: its signature cannot be read ({reason}); expected a DSSE envelope. {_REMEDY}")


def _encoded(data: bytes) -> str:
    return base64.standard_b64encode(data).decode()


def _decoded(text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"base64: {error}") from error
    _expect(text, _encoded(data))  # there are others that decode to the same
    return data
