"""The ledger and the leases. A database that was made before there were steps has both, and is taken as it is."""

from alembic import op
from sqlalchemy import Boolean, Column, Double, Integer, String, Text

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "slipway_ledger",
        Column("id", Integer, primary_key=True, autoincrement=False),
        Column("time_s", Double, nullable=False),
        Column("model", String(256), nullable=False),
        Column("action", String(32), nullable=False),
        Column("alias", String(256), nullable=False),
        Column("from_version", Integer),
        Column("to_version", Integer, nullable=False),
        Column("actor", String(256), nullable=False),
        Column("origin", String(64), nullable=False),
        Column("reason", Text, nullable=False),
        Column("forced", Boolean, nullable=False),
        Column("gate_report", Text),
        Column("previous_digest", String(64), nullable=False, unique=True),
        Column("digest", String(64), nullable=False, unique=True),
        if_not_exists=True,
    )
    op.create_index("ix_slipway_ledger_model", "slipway_ledger", ["model"], if_not_exists=True)
    op.create_table(
        "slipway_lease",
        Column("key", String(256), primary_key=True),
        Column("token", String(64), nullable=False),
        Column("holder", String(256), nullable=False),
        Column("host", String(256), nullable=False),
        Column("process_space", String(256), nullable=False),
        Column("pid", Integer, nullable=False),
        Column("acquired_s", Double, nullable=False),
        Column("expires_s", Double, nullable=False),
        if_not_exists=True,
    )
