"""The keys of a new installation: who may ask the model server, and whose signature a version needs."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from serving.model_server.access_tokens import ADMIN, METRICS, PREDICT, add_token, new_token, read_tokens, remove_token
from slipway.keys import create_key, public_half

TOKENS: Mapping[str, tuple[str, ...]] = {"slipway": (PREDICT, ADMIN), "prometheus": (METRICS,)}  # name: what it is for


def have_tokens(directory: Path, file: Path) -> None:
    """`token-NAME` in `directory` for each of TOKENS, and their digests in `file`; those that are there stay."""
    for name, scopes in TOKENS.items():
        kept = directory / f"token-{name}"
        if kept.exists():
            continue
        if file.exists() and name in {each.name for each in read_tokens(file)}:
            remove_token(file, name)  # we were killed before its user had it
        token, noted = new_token(name, scopes)
        add_token(file, noted)
        temporary = directory / f".token-{name}"
        temporary.unlink(missing_ok=True)
        temporary.touch(0o600)
        temporary.write_text(token, encoding="ascii")
        temporary.replace(kept)


def have_signing_key(private: Path, trusted: Path) -> None:
    """A private key, and its public half in the directory of those that are trusted."""
    if not public_half(private).exists():
        private.unlink(missing_ok=True)  # we were killed between the two: nobody trusts it yet
        create_key(private)
    trusted.mkdir(exist_ok=True)
    public = trusted / f"{private.stem}.pem"
    if not public.exists():
        shutil.copyfile(public_half(private), public)
