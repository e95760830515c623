"""What the reconciler saw last, how far a rollout is, and ledger entries after which no version is in place."""

from alembic import op
from sqlalchemy import Column, Double, Integer, String, Text

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "slipway_seen",
        Column("model", String(256), primary_key=True),
        Column("champion", Integer),
        Column("challenger", Integer),
        Column("production", Integer),
        Column("staging", Integer),
        Column("refused", Integer),
        Column("updated_s", Double, nullable=False),
    )
    op.create_table(
        "slipway_rollout",
        Column("model", String(256), primary_key=True),
        Column("version", Integer, nullable=False),
        Column("state", Text, nullable=False),
        Column("updated_s", Double, nullable=False),
    )
    # SQLite changes a column by copying the table.
    with op.batch_alter_table("slipway_ledger") as ledger:
        ledger.alter_column("to_version", existing_type=Integer(), nullable=True)
