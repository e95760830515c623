import multiprocessing
import subprocess
import sys
import traceback

import pytest
from sqlalchemy import create_engine, delete, inspect, text, update
from sqlalchemy.exc import DBAPIError

from registry.database import LEDGER, METADATA, SCHEMA, open_database
from registry.ledger import Ledger, NewEntry
from registry.migrations import VERSION_TABLE, steps
from slipway.errors import InputError

# What Slipway made before it had migrations, and two entries that it had appended.
WITHOUT_MIGRATIONS = """
CREATE TABLE slipway_ledger (
    id INTEGER NOT NULL, time_s {double} NOT NULL, model VARCHAR(256) NOT NULL, action VARCHAR(32) NOT NULL,
    alias VARCHAR(256) NOT NULL, from_version INTEGER, to_version INTEGER NOT NULL, actor VARCHAR(256) NOT NULL,
    origin VARCHAR(64) NOT NULL, reason TEXT NOT NULL, forced BOOLEAN NOT NULL, gate_report TEXT,
    previous_digest VARCHAR(64) NOT NULL, digest VARCHAR(64) NOT NULL,
    PRIMARY KEY (id), UNIQUE (previous_digest), UNIQUE (digest)
);
CREATE INDEX ix_slipway_ledger_model ON slipway_ledger (model);
CREATE TABLE slipway_lease (
    "key" VARCHAR(256) NOT NULL, token VARCHAR(64) NOT NULL, holder VARCHAR(256) NOT NULL, host VARCHAR(256) NOT NULL,
    process_space VARCHAR(256) NOT NULL, pid INTEGER NOT NULL, acquired_s {double} NOT NULL,
    expires_s {double} NOT NULL, PRIMARY KEY ("key")
);
INSERT INTO slipway_ledger VALUES (1, 1800000000.0, 'digits', 'promote', 'champion', NULL, 1, 'ada', 'command', 'first',
    {false}, NULL, '0000000000000000000000000000000000000000000000000000000000000000',
    'a091dbd1beccdbdfe7d075325d1bc00878a1fbf657d26a22986161096cfc9b0c'); -- pragma: allowlist secret
INSERT INTO slipway_ledger VALUES (2, 1800000001.0, 'digits', 'promote', 'champion', 1, 2, 'ada', 'command', 'better',
    {true}, '{{"passed":false}}',
    'a091dbd1beccdbdfe7d075325d1bc00878a1fbf657d26a22986161096cfc9b0c', -- pragma: allowlist secret
    '68edc3874940e9a543a878046ddd920a436c619c5695eb716f1d5fc9c96e67f0'); -- pragma: allowlist secret
"""


@pytest.fixture
def url(database):
    return database


def execute(url, statements):
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        for statement in filter(str.strip, statements.split(";")):
            connection.exec_driver_sql(statement)
    engine.dispose()


def without_migrations(url):
    on_sqlite = url.startswith("sqlite")
    names = {"double": "DOUBLE", "false": "0", "true": "1"} if on_sqlite else {}
    execute(url, WITHOUT_MIGRATIONS.format(**{"double": "DOUBLE PRECISION", "false": "false", "true": "true"} | names))


def entry(action, before, after, **changes):
    return NewEntry("digits", action, "champion", before, after, "ada", "command", "because", **changes)


def test_the_steps_make_the_tables_that_the_code_reads(url):
    from alembic.autogenerate import compare_metadata
    from alembic.runtime.migration import MigrationContext

    engine = open_database(url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        assert compare_metadata(context, METADATA) == []
        assert context.get_current_heads() == (SCHEMA,)
    assert steps().get_heads() == [SCHEMA]


def test_a_database_from_before_there_were_steps_keeps_its_entries_and_takes_the_new_ones(url):
    without_migrations(url)
    ledger = Ledger(url)
    assert ledger.verify_chain() == 2
    assert ledger.champions("digits") == (1, 2)
    assert ledger.entries()[1].gate_report == {"passed": False}
    ledger.append(entry("retire", 2, None))
    assert ledger.verify_chain() == 3
    assert ledger.entries()[2].to_version is None
    assert [index["column_names"] for index in inspect(ledger.engine).get_indexes("slipway_ledger")].count(["model"])
    test_the_steps_make_the_tables_that_the_code_reads(url)


def test_an_up_to_date_database_is_opened_without_alembic(tmp_path):
    url = f"sqlite:///{tmp_path}/slipway.db"
    open_database(url)
    program = (
        f"import sys; from registry.database import open_database; open_database({url!r}); "
        "sys.exit('alembic' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_a_database_of_a_later_slipway_is_refused_naming_what_to_do(url):
    open_database(url).dispose()
    execute(url, f"UPDATE {VERSION_TABLE} SET version_num = '0999'")
    with pytest.raises(
        InputError, match=rf"later Slipway \(step 0999; expected {SCHEMA} or earlier\)\. Install"
    ) as seen:
        open_database(url)
    password = url.partition("//")[2].partition("@")[0].partition(":")[2]
    assert not password or password not in str(seen.value)


def test_a_step_that_fails_leaves_the_database_as_it_was(url):
    without_migrations(url)
    execute(url, "CREATE TABLE slipway_rollout (other INTEGER)")  # in the way of the second step
    with pytest.raises(Exception, match="slipway_rollout"):
        open_database(url)
    execute(url, "DROP TABLE slipway_rollout")
    assert Ledger(url).verify_chain() == 2


def _open(url, barrier, outcomes):
    try:
        barrier.wait(60)
        ledger = Ledger(url)
        ledger.append(entry("promote", None, 1))
        outcomes.put("opened")
    except BaseException:  # noqa: BLE001, the parent shows what went wrong
        outcomes.put(traceback.format_exc())


@pytest.mark.parametrize("adopted", [False, True])
def test_first_starts_at_once_all_succeed(url, adopted):
    if adopted:
        without_migrations(url)
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(
        ["registry.migrations", "registry.ledger", "sqlalchemy.dialects.sqlite", "psycopg"]
    )
    barrier, outcomes = processes.Barrier(6), processes.Queue()
    children = [processes.Process(target=_open, args=(url, barrier, outcomes)) for _ in range(6)]
    for child in children:
        child.start()
    assert [outcomes.get(timeout=90) for _ in children] == ["opened"] * 6
    for child in children:
        child.join(30)
    assert Ledger(url).verify_chain() == 6 + 2 * adopted


def test_the_database_refuses_to_change_or_remove_an_entry(url):
    ledger = Ledger(url)
    for version in (1, 2, 3):
        ledger.append(entry("promote", version - 1 or None, version))
    statements = [update(LEDGER).where(LEDGER.c.id == 2).values(actor="eve"), delete(LEDGER).where(LEDGER.c.id == 3)]
    if url.startswith("sqlite"):
        columns = "model, action, alias, actor, origin, reason, forced"
        values = "'digits', 'promote', 'champion', 'eve', 'command', '', 0"
        statements.append(
            text(
                f"INSERT OR REPLACE INTO slipway_ledger (id, time_s, {columns}, previous_digest, digest) "
                f"VALUES (2, 1.0, {values}, 'a', 'b')"
            )
        )
    else:
        statements.append(text("TRUNCATE slipway_ledger"))
    for statement in statements:
        with pytest.raises(DBAPIError, match="append-only"), ledger.engine.begin() as connection:
            connection.execute(statement)
    assert ledger.verify_chain() == 3
