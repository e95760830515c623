"""Commands about the keys that sign versions: keys create, list, revoke, sign."""

from pathlib import Path
from typing import Any

import click

from pipeline.commands import JSON, VERSION, Command, config_from
from pipeline.options import config_options, option
from slipway.errors import InputError


@click.group()
def keys() -> None:
    """Make, list and revoke the keys that sign versions, and sign a version again."""


@keys.command(cls=Command)
@click.argument("file")
def create(file: str) -> None:
    """Write a new private key to FILE and its public half beside it.

    The private key is encrypted if SLIPWAY_SIGNING_PASSPHRASE is set.
    """
    from pipeline.signing.signer import PASSPHRASE, passphrase
    from slipway.keys import create_key, public_half

    private, secret = Path(file), passphrase()
    key_id = create_key(private, secret)
    how = "encrypted" if secret else f"not encrypted: {PASSPHRASE} is empty"
    click.echo(f"key {key_id}\n{private}  private, {how}")
    click.echo(f"{public_half(private)}  public: copy it to where versions are verified")


@keys.command("list", cls=Command)
@config_options("signing.trusted_keys")
@JSON
def list_(config: str | None, json: bool | None, **values: Any) -> None:
    """List the trusted keys' ids, with those that are revoked."""
    from dataclasses import asdict

    from pipeline import summary
    from slipway.keys import listed_keys

    rows = [asdict(each) for each in listed_keys(_directory(config, values))]
    click.echo(summary.as_json(rows) if json else summary.table(rows, ("key_id", "state", "file")))


@keys.command(cls=Command)
@click.argument("key_id")
@option("--reason", "Why: a remark beside the id.")
@config_options("signing.trusted_keys")
def revoke(key_id: str, reason: str | None, config: str | None, **values: Any) -> None:
    """Trust what KEY_ID has signed no more."""
    from slipway.keys import add_revoked

    directory = _directory(config, values)
    add_revoked(directory, key_id, reason or "")
    click.echo(f"key {key_id} is revoked in {directory}: what it has signed is refused from the next load on")


@keys.command(cls=Command)
@VERSION
@option("--force", "Sign whatever signature the version has, not looking at it.", bool)
@config_options("name", "base", "signing")
def sign(version: int | None, force: bool | None, config: str | None, **values: Any) -> None:
    """Sign a registered version, again if it is signed, with the key that the configuration names."""
    from pipeline.signing.sign_again import sign_again

    if version is None:
        raise InputError("--version is missing; expected the version to sign. Pass --version N.")
    click.echo(sign_again(config_from(config, values), version, force=bool(force)))


def _directory(config: str | None, values: dict[str, Any]) -> Path:
    from pipeline.signing.trust import keys_directory

    return keys_directory(config_from(config, values))
