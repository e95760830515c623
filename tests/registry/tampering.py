"""What somebody does who may do anything with the database, and means to change the ledger."""

from sqlalchemy import text


def tamper(engine, statement):
    """Run `statement` on the ledger, having taken away what refuses it."""
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("ALTER TABLE slipway_ledger DISABLE TRIGGER USER"))
        else:
            triggers = "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'slipway_ledger'"
            for name in connection.execute(text(triggers)).scalars().all():
                connection.execute(text(f"DROP TRIGGER {name}"))
        connection.execute(statement)
