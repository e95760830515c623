"""The ledger's entries stay as they were appended: the database itself refuses to change or delete one."""

from alembic import op

revision = "0003"
down_revision = "0002"

_SQLITE = (
    """
    CREATE TRIGGER slipway_ledger_update BEFORE UPDATE ON slipway_ledger
    BEGIN SELECT RAISE(ABORT, 'slipway_ledger is append-only'); END
    """,
    """
    CREATE TRIGGER slipway_ledger_delete BEFORE DELETE ON slipway_ledger
    BEGIN SELECT RAISE(ABORT, 'slipway_ledger is append-only'); END
    """,
    # INSERT OR REPLACE deletes what is in its way without asking the trigger above.
    """
    CREATE TRIGGER slipway_ledger_replace BEFORE INSERT ON slipway_ledger
    WHEN EXISTS (
        SELECT 1 FROM slipway_ledger
        WHERE id = NEW.id OR digest = NEW.digest OR previous_digest = NEW.previous_digest
    )
    BEGIN SELECT RAISE(ABORT, 'slipway_ledger is append-only'); END
    """,
)

_POSTGRESQL = (
    """
    CREATE FUNCTION slipway_ledger_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'slipway_ledger is append-only' USING ERRCODE = 'integrity_constraint_violation';
    END $$
    """,
    """
    CREATE TRIGGER slipway_ledger_change BEFORE UPDATE OR DELETE ON slipway_ledger
    FOR EACH ROW EXECUTE FUNCTION slipway_ledger_refuse()
    """,
    """
    CREATE TRIGGER slipway_ledger_truncate BEFORE TRUNCATE ON slipway_ledger
    FOR EACH STATEMENT EXECUTE FUNCTION slipway_ledger_refuse()
    """,
)


def upgrade() -> None:
    for statement in _POSTGRESQL if op.get_context().dialect.name == "postgresql" else _SQLITE:
        op.execute(statement)
