"""Slipway's own tables, and the database that holds them: SQLite on one machine, PostgreSQL for a team.

Imported only where a table is used: SQLAlchemy is not part of `--help`.
"""

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import (
    Boolean,
    Column,
    Double,
    Engine,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    and_,
    create_engine,
    insert,
    inspect,
    select,
    update,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, IntegrityError, SQLAlchemyError

from slipway.credentials import without_credentials
from slipway.errors import InputError, UnavailableError
from slipway.files import sha256_bytes

DATABASE_VARIABLE = "SLIPWAY_DATABASE_URL"
_BUSY_S = 30  # how long a writer on SQLite waits for another one
_CONNECT_S = 5

METADATA = MetaData()

SCHEMA = "0003"  # the last of `registry.migrations`: a database that has it is opened without Alembic
MIGRATIONS = Table("slipway_migrations", MetaData(), Column("version_num", String(32)))

LEDGER = Table(
    "slipway_ledger",
    METADATA,
    # The place in the chain, from 1: two writers that saw the same end collide here, and one tries again.
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("time_s", Double, nullable=False),
    Column("model", String(256), nullable=False, index=True),
    Column("action", String(32), nullable=False),
    Column("alias", String(256), nullable=False),
    Column("from_version", Integer),
    Column("to_version", Integer),
    Column("actor", String(256), nullable=False),
    Column("origin", String(64), nullable=False),
    Column("reason", Text, nullable=False),
    Column("forced", Boolean, nullable=False),
    Column("gate_report", Text),
    Column("previous_digest", String(64), nullable=False, unique=True),
    Column("digest", String(64), nullable=False, unique=True),
)

LEASE = Table(
    "slipway_lease",
    METADATA,
    Column("key", String(256), primary_key=True),
    Column("token", String(64), nullable=False),
    Column("holder", String(256), nullable=False),
    Column("host", String(256), nullable=False),
    Column("process_space", String(256), nullable=False),
    Column("pid", Integer, nullable=False),
    Column("acquired_s", Double, nullable=False),
    Column("expires_s", Double, nullable=False),
)

# What the last finished pass of the reconciler left, a row a model.
SEEN = Table(
    "slipway_seen",
    METADATA,
    Column("model", String(256), primary_key=True),
    Column("champion", Integer),
    Column("challenger", Integer),
    Column("production", Integer),
    Column("staging", Integer),
    Column("refused", Integer),
    Column("updated_s", Double, nullable=False),
)

ROLLOUT = Table(
    "slipway_rollout",
    METADATA,
    Column("model", String(256), primary_key=True),
    Column("version", Integer, nullable=False),
    Column("state", Text, nullable=False),  # JSON
    Column("updated_s", Double, nullable=False),
)


def default_database_url(tracking_uri: str) -> str:
    """SLIPWAY_DATABASE_URL, else `slipway.db` beside MLflow's SQLite file, else a file of this user's for the address.

    The last one does not reach past this user of this machine: where others promote too, set SLIPWAY_DATABASE_URL.
    """
    named = os.environ.get(DATABASE_VARIABLE)
    if named:
        return named
    if urlsplit(tracking_uri).scheme.startswith("sqlite"):
        database = make_url(tracking_uri).database
        if database and database != ":memory:":
            return f"sqlite:///{os.path.join(os.path.dirname(database), 'slipway.db')}"  # noqa: PTH118, PTH120
    data_home = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    with contextlib.suppress(OSError):  # opening the database then says what is wrong with the folder
        (data_home / "slipway").mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{data_home / 'slipway' / sha256_bytes(tracking_uri.encode())[:16]}.db"


def open_database(url: str) -> Engine:
    """Connect; tables that are missing, or of an earlier Slipway, are brought to the present form.

    Raises:
        InputError: `url` is not a database's, or a later Slipway wrote its tables.
        UnavailableError: it does not answer, or cannot be written.
    """
    # psycopg 3 by name: what a bare `postgresql://` means depends on SQLAlchemy's version.
    url = url.replace("postgresql://", "postgresql+psycopg://", 1)
    try:
        engine = _engine(url)
    except ImportError as exc:
        raise InputError(
            f"{DATABASE_VARIABLE}: the driver of {without_credentials(url)} is missing ({exc}). "
            "For PostgreSQL: pip install 'psycopg[binary]'."
        ) from exc
    place = f"ledger database {without_credentials(url)}"
    try:
        if _schema(engine) != SCHEMA:
            from registry.migrations import upgrade

            upgrade(engine, place)
    except SQLAlchemyError as exc:
        raise UnavailableError(
            f"{place}: {without_credentials(str(exc.__cause__ or exc))}. "
            f"Make it reachable and writable, or set {DATABASE_VARIABLE} to another one."
        ) from exc
    return engine


def _engine(url: str) -> Engine:
    waits = {"sqlite": {"timeout": _BUSY_S}, "postgresql": {"connect_timeout": _CONNECT_S}}
    try:
        parsed = make_url(url)
        return create_engine(parsed, connect_args=waits[parsed.get_backend_name()])
    except (ArgumentError, KeyError, ValueError) as exc:  # ValueError: a port that is no number
        raise InputError(
            f"{DATABASE_VARIABLE}: expected sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE. Correct it."
        ) from exc


def _schema(engine: Engine) -> str | None:
    """The last step that the database has had (`registry.migrations`); None for none."""
    with engine.connect() as connection:
        if not inspect(connection).has_table(MIGRATIONS.name):
            return None
        return connection.execute(select(MIGRATIONS.c.version_num)).scalar_one_or_none()


def upsert(engine: Engine, table: Table, key: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """Write the row of `key`, whether it is there or not, whatever other writers do at the same time."""
    ours = and_(*(table.c[column] == value for column, value in key.items()))
    with engine.begin() as connection:
        if connection.execute(update(table).where(ours).values(values)).rowcount:
            return
    try:
        with engine.begin() as connection:
            connection.execute(insert(table).values({**key, **values}))
    except IntegrityError:  # another writer's row came between
        with engine.begin() as connection:
            connection.execute(update(table).where(ours).values(values))
