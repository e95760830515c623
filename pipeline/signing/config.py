"""What signs a version when it is registered, and whose signatures count."""

import shlex
from dataclasses import dataclass

from slipway.errors import InputError


@dataclass(frozen=True)
class SigningConfig:
    """InputError for settings that exclude each other."""

    key: str = ""  # file of a private key; its passphrase is only in the environment
    command: str = ""  # instead: a program that signs what it reads
    public_key: str = ""  # file of that program's public key
    trusted_keys: str = ""  # directory of the public keys that count, and revoked.txt

    def __post_init__(self) -> None:
        if self.key and self.command:
            raise InputError(
                "signing.key and signing.command are both given; expected one thing that signs. Leave out one of them."
            )
        if bool(self.command) != bool(self.public_key):
            raise InputError(
                "signing.command and signing.public_key go together; expected the command's public key beside it. "
                "Give both, or neither."
            )
        if self.command:
            self.words()

    def words(self) -> list[str]:
        """The program and its arguments; no shell reads them."""
        try:
            return shlex.split(self.command)
        except ValueError as error:
            raise InputError(
                f"signing.command: {error}; expected a program and its arguments. Correct the quotes."
            ) from error
