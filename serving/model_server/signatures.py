"""Versions that must be signed: each has a valid signature beside its directory, or it is not loaded."""

import logging
from pathlib import Path

from serving.model_config import canary_name
from serving.stores import signature_file
from slipway.errors import IntegrityError, UnavailableError
from slipway.statement import Statement, TrustedKeys, check_apart

_LOG = logging.getLogger(__name__)


class Signatures:
    """Judges versions by the public keys in a directory.

    They are read anew for each version: a key that is added, or revoked, counts from the next load on. Every method
    raises IntegrityError for a version that may not be loaded, InputError for keys that cannot be used.
    """

    def __init__(self, trusted_keys: Path) -> None:
        TrustedKeys(trusted_keys)
        self._trusted_keys = trusted_keys

    def check_name(self, model: str, version_directory: Path) -> None:
        """Refuse a version that is to be served under another name than the one that it is signed for.

        That is its directory's; a candidate is served under the canary's name, too.
        """
        name = version_directory.parent.name
        if model not in {name, canary_name(name)}:
            raise IntegrityError(
                f"{version_directory}: to be served as {model}; expected {name}, as its directory and its signature "
                "say. Serve it under that name."
            )

    def check_place(self, base_path: Path) -> None:
        """Refuse keys that lie in the base path of that model, or beside it among other models."""
        check_apart(self._trusted_keys, base_path)
        every_model = base_path.absolute().parent.resolve()
        if every_model != every_model.parent:  # everything lies inside /
            check_apart(self._trusted_keys, every_model)

    def check(self, version_directory: Path, manifest_digest: str | None) -> None:
        """Refuse the version in that directory unless somebody who is trusted has signed its manifest's digest."""
        base_path = version_directory.parent
        self.check_place(base_path)
        if manifest_digest is None:
            raise IntegrityError(
                f"{version_directory}: has no manifest; expected a version that Slipway sealed and signed, since "
                "--trusted_keys is given. Serve it without that flag, or another version."
            )
        number = int(version_directory.name)
        expected = Statement(base_path.name, number, manifest_digest)
        try:
            key_id = TrustedKeys(self._trusted_keys).verify(_read(base_path / signature_file(number)), expected)
        except IntegrityError as error:
            raise IntegrityError(f"{version_directory}: {error}") from error
        _LOG.info("%s is signed by key %s", version_directory, key_id)


def _read(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UnavailableError(
            f"{file}: cannot be read ({error.strerror}); expected a version's signature. Mend its permissions."
        ) from error
