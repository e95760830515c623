"""How Slipway's tables came to be what they are, step by step; Alembic runs the steps that a database has not had.

A step stands in `versions`, and is not changed once it is released. Steps run in one transaction and one after another:
of several first starts at once, one takes them and the others find them taken.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine

from slipway.errors import InputError

VERSION_TABLE = "slipway_migrations"
_LOCK = 0x511B_3A7  # any number that nobody else locks in this database


def upgrade(engine: Engine, place: str) -> None:
    """Bring a database of any earlier Slipway, or an empty one, to the present tables.

    Raises:
        InputError: a later Slipway wrote it; `place` names it there.
    """
    from alembic.operations import Operations
    from alembic.runtime.migration import MigrationContext

    script = steps()
    head = script.as_revision_number("head")
    with _alone(engine) as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "version_table": VERSION_TABLE,
                "fn": lambda revision, _context: script._upgrade_revs(head, revision),  # noqa: SLF001, as env.py does
            },
        )
        known = {revision.revision for revision in script.walk_revisions()}
        later = set(context.get_current_heads()) - known
        if later:
            raise InputError(
                f"{place}: its tables are of a later Slipway (step {', '.join(sorted(later))}; expected "
                f"{head} or earlier). Install that Slipway here."
            )
        with Operations.context(context):
            context.run_migrations()


def steps() -> Any:
    """Alembic's directory of the steps."""
    from alembic.script import ScriptDirectory

    return ScriptDirectory(Path(__file__).parent)


@contextmanager
def _alone(engine: Engine) -> Iterator[Connection]:
    """One transaction at a time; nothing of it stays when it fails."""
    if engine.dialect.name == "postgresql":
        with engine.begin() as connection:
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
            yield connection
        return
    # Python's driver begins a transaction before an insert only, so tables would be made outside of any.
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        try:
            yield connection
        except BaseException:
            connection.exec_driver_sql("ROLLBACK")
            raise
        connection.exec_driver_sql("COMMIT")
