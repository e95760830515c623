"""`python -m deploy.compose`: the secrets, keys, directories and settings that compose.yaml needs beside it.

What is there stays: running it again changes nothing. Nothing is printed but names of files.
"""

import json
import os
import secrets
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import click

from deploy.doors import have_signing_key, have_tokens
from deploy.first_use import ADMINISTRATOR, BUCKET

_HERE = Path(__file__).parent
_DIRECTORIES = ("postgresql", "s3", "base", "work", "predictions", "prometheus")
_READ, _WRITE = ("Read", "List"), ("Read", "List", "Write", "Tagging")
_MAY: Mapping[str, tuple[str, ...]] = {  # S3's users, and what SeaweedFS lets each do
    "mlflow": tuple(f"{action}:mlflow" for action in _WRITE),
    "slipway": tuple(f"{action}:{BUCKET}" for action in _WRITE),
    "sync": tuple(f"{action}:{BUCKET}" for action in _READ),
    "setup": ("Admin", "Read", "List", "Write"),
}
_PASSWORDS = (
    "mlflow-admin",
    "mlflow-cookies",
    "mlflow-slipway",
    "postgresql-mlflow",
    "postgresql-owner",
    "postgresql-slipway",
)


def make(folder: Path) -> list[Path]:
    """Make what is missing below `folder`, where compose.yaml is; returns the files that it made."""
    for name in _DIRECTORIES:
        (folder / "data" / name).mkdir(parents=True, exist_ok=True)
    kept = folder / "secrets"
    kept.mkdir(mode=0o700, exist_ok=True)
    made: list[Path] = []

    def secret(name: str, content: Callable[[], str]) -> str:
        file = kept / name
        if not file.exists():
            _write_secret(file, content())
            made.append(file)
        return file.read_text(encoding="ascii")

    passwords = {name: secret(name, lambda: secrets.token_urlsafe(24)) for name in _PASSWORDS}
    for role in ("mlflow", "slipway"):
        entry = f"postgresql:5432:*:{role}:{passwords[f'postgresql-{role}']}\n"
        secret(f"pgpass-{role}", partial(str, entry))
    secret("mlflow-login", lambda: _login_settings(passwords["mlflow-admin"]))
    keys = {user: secret(f"s3-{user}", _credentials) for user in _MAY}
    secret("s3-identities", lambda: _identities(keys))
    have_tokens(kept, kept / "access-tokens")
    have_signing_key(kept / "signing.key", folder / "trusted")
    settings = folder / ".env"
    if not settings.exists():
        settings.write_text(f"SLIPWAY_USER={os.getuid()}:{os.getgid()}\n", encoding="ascii")
        made.append(settings)
    return made


def _write_secret(file: Path, content: str) -> None:
    temporary = file.with_name(f".{file.name}")
    temporary.unlink(missing_ok=True)
    temporary.touch(0o600)
    temporary.write_text(content, encoding="ascii")
    temporary.replace(file)


def _login_settings(password: str) -> str:
    """MLflow's settings of its login: the administrator is made at the first start."""
    return (
        "[mlflow]\ndefault_permission = READ\n"
        "database_uri = postgresql+psycopg://mlflow@postgresql:5432/mlflow_login\n"
        f"admin_username = {ADMINISTRATOR}\nadmin_password = {password}\nauth_cache_ttl_seconds = 60\n"
    )


def _credentials() -> str:
    """A user's keys, as AWS' clients read them."""
    key, password = secrets.token_hex(10).upper(), secrets.token_urlsafe(30)
    return f"[default]\naws_access_key_id = {key}\naws_secret_access_key = {password}\n"


def _identities(keys: Mapping[str, str]) -> str:
    """The same keys as SeaweedFS reads them, and what each may do."""
    found = []
    for user, text in keys.items():
        key, password = (line.partition(" = ")[2] for line in text.splitlines()[1:])
        credentials = [{"accessKey": key, "secretKey": password}]
        found.append({"name": user, "credentials": credentials, "actions": list(_MAY[user])})
    return json.dumps({"identities": found}, indent=2)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--folder", type=click.Path(path_type=Path), default=_HERE, help="Where compose.yaml is.")
def main(folder: Path) -> None:
    """Make the secrets, directories and settings that compose.yaml needs beside it."""
    for file in make(folder):
        click.echo(f"made {file}")
    click.echo("next: docker compose -f deploy/compose.yaml up --build --detach --wait")


if __name__ == "__main__":
    main(prog_name="python -m deploy.compose")
