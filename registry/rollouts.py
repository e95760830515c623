"""How far a rollout is, kept where the ledger is: one state a model, replaced as it advances."""

import json
from collections.abc import Mapping
from typing import Any

from registry.ledger import Ledger, database_errors


def load_rollout(ledger: Ledger, model: str) -> dict[str, Any] | None:
    """The state that was saved last, as it was given; None if there is none."""
    from sqlalchemy import select

    from registry.database import ROLLOUT

    with database_errors(ledger.engine), ledger.engine.connect() as connection:
        text = connection.execute(select(ROLLOUT.c.state).where(ROLLOUT.c.model == model)).scalar_one_or_none()
    return None if text is None else json.loads(text)


def save_rollout(ledger: Ledger, model: str, version: int, state: Mapping[str, Any]) -> None:
    """Keep `state`, plain JSON values, for the rollout of `version`, in place of the model's former one."""
    from registry.database import ROLLOUT, upsert

    text = json.dumps(state, sort_keys=True, allow_nan=False)
    with database_errors(ledger.engine):
        upsert(
            ledger.engine, ROLLOUT, {"model": model}, {"version": version, "state": text, "updated_s": ledger.clock()}
        )
