"""The history of what was live: append-only, each entry sealed over the one before it.

The database refuses to change or delete an entry (`registry.migrations`), which keeps the ledger from mistakes. It does
not keep it from somebody who may drop a trigger or replace the file. What such a one does the digests show: an entry
that was changed, removed from the middle or slipped in. An end that was cut off, or a ledger rewritten as a whole, they
cannot show: for that, keep the last digest elsewhere.
"""

import contextlib
import dataclasses
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from slipway.credentials import without_credentials
from slipway.errors import IntegrityError, UnavailableError
from slipway.files import sha256_bytes

if TYPE_CHECKING:
    from sqlalchemy import Engine

CHAMPION = "champion"
CHALLENGER = "challenger"
GENESIS = "0" * 64
_ATTEMPTS = 50

# observed: the alias was found moved without an entry, by the UI or by a call that was killed.
# refuse: `from_version` did not go live, `to_version` stays. retire: `from_version` is served no more, nothing follows.
# rollout: what a rollout decided; it moves no alias itself.
Action = Literal["promote", "rollback", "observed", "refuse", "retire", "rollout"]


@dataclass(frozen=True)
class NewEntry:
    """One change of an alias, as the caller knows it."""

    model: str
    action: Action
    alias: str
    from_version: int | None
    to_version: int | None
    actor: str
    origin: str  # what caused it: "command", "ui", ...
    reason: str
    forced: bool = False
    gate_report: Mapping[str, Any] | None = None  # GateReport.as_dict()


@dataclass(frozen=True, kw_only=True)
class LedgerEntry(NewEntry):
    """A change as it is recorded."""

    id: int  # place in the chain, from 1
    time_s: float  # since the epoch
    previous_digest: str
    digest: str


class Ledger:
    """The ledger in one database. Its clock, seconds since the epoch, is passed in."""

    def __init__(self, url: str, clock: Callable[[], float] = time.time) -> None:
        from registry.database import open_database

        self.engine: Engine = open_database(url)
        self.clock = clock

    def __repr__(self) -> str:
        return f"Ledger({place_of(self.engine)!r})"

    def append(self, new: NewEntry) -> LedgerEntry:
        """Record a change behind the last entry, whatever other writers do at the same time."""
        from sqlalchemy import insert
        from sqlalchemy.exc import IntegrityError as Duplicate

        from registry.database import LEDGER

        with database_errors(self.engine):
            for _ in range(_ATTEMPTS):
                entry = self._next_entry(new)
                row = dataclasses.asdict(entry)
                row["gate_report"] = None if new.gate_report is None else _canonical(new.gate_report)
                with contextlib.suppress(Duplicate), self.engine.begin() as connection:
                    connection.execute(insert(LEDGER).values(row))
                    return entry
        raise UnavailableError(f"{self!r}: {_ATTEMPTS} other writers came first. Repeat the command.")

    def _next_entry(self, new: NewEntry) -> LedgerEntry:
        from sqlalchemy import select

        from registry.database import LEDGER

        with self.engine.connect() as connection:
            last = connection.execute(
                select(LEDGER.c.id, LEDGER.c.digest).order_by(LEDGER.c.id.desc()).limit(1)
            ).one_or_none()
        entry = LedgerEntry(
            **{field.name: getattr(new, field.name) for field in dataclasses.fields(NewEntry)},
            id=1 if last is None else last.id + 1,
            time_s=self.clock(),
            previous_digest=GENESIS if last is None else last.digest,
            digest="",
        )
        return dataclasses.replace(entry, digest=digest_of(entry))

    def entries(self, model: str | None = None) -> tuple[LedgerEntry, ...]:
        """Every entry of a model, or all of them, oldest first.

        Raises:
            IntegrityError: the gate report of one is none that was appended; it names the entry.
        """
        from sqlalchemy import select

        from registry.database import LEDGER

        query = select(LEDGER).order_by(LEDGER.c.id)
        if model is not None:
            query = query.where(LEDGER.c.model == model)
        with database_errors(self.engine), self.engine.connect() as connection:
            rows = connection.execute(query).mappings().all()
        return tuple(self._from_row(dict(row)) for row in rows)

    def last_ids(self) -> Mapping[str, int]:
        """Each model's newest entry, by its place in the chain: whoever knows it knows whether there is a newer one."""
        from sqlalchemy import func, select

        from registry.database import LEDGER

        query = select(LEDGER.c.model, func.max(LEDGER.c.id)).group_by(LEDGER.c.model)
        with database_errors(self.engine), self.engine.connect() as connection:
            return {model: int(last) for model, last in connection.execute(query)}

    def _from_row(self, row: dict[str, Any]) -> LedgerEntry:
        text = row.pop("gate_report")
        entry = LedgerEntry(**row)
        try:
            return entry if text is None else dataclasses.replace(entry, gate_report=_report(text))
        except (ValueError, RecursionError) as exc:
            raise self._edited(entry) from exc

    def _edited(self, entry: LedgerEntry) -> IntegrityError:
        return IntegrityError(
            f"{self!r}: entry {entry.id} ({entry.action} {entry.model} to version {entry.to_version}) "
            "is not the one that was appended. Restore the ledger from its backup."
        )

    def actions(self, model: str) -> dict[str, int]:
        """How many entries of a model there are of each action."""
        from sqlalchemy import func, select

        from registry.database import LEDGER

        query = select(LEDGER.c.action, func.count()).where(LEDGER.c.model == model).group_by(LEDGER.c.action)
        with database_errors(self.engine), self.engine.connect() as connection:
            return {str(action): int(count) for action, count in connection.execute(query)}

    def verify_chain(self) -> int:
        """Check every entry's digest and its link to the one before; return how many there are.

        Raises:
            IntegrityError: an entry is not what was appended; it names the entry.
        """
        previous = GENESIS
        entries = self.entries()
        for place, entry in enumerate(entries, start=1):
            if entry.id != place:
                raise IntegrityError(f"{self!r}: entry {place} is missing. Restore the ledger from its backup.")
            if entry.previous_digest != previous or not _is_sealed(entry):
                raise self._edited(entry)
            previous = entry.digest
        return len(entries)

    def last(self, model: str, alias: str) -> LedgerEntry | None:
        """The newest entry that says which version an alias of a model is on."""
        return next(
            (each for each in reversed(self.entries(model)) if each.alias == alias and each.action != "rollout"), None
        )

    def champions(self, model: str, current: int | None = None) -> tuple[int, ...]:
        """The champions that a rollback would go back through, oldest first, the present one last.

        A promotion adds its version, a rollback drops everything above its own, a refusal drops the version that was
        refused if a promotion added it. A retired champion stays: the one after it can be rolled back to it. `current`,
        what the alias says, counts as promoted last if the ledger does not know of it.
        """
        stack: list[int] = []
        for entry in self.entries(model):
            if entry.alias != CHAMPION or entry.action in {"retire", "rollout"}:
                continue
            if entry.action == "refuse":
                if stack and stack[-1] == entry.from_version != entry.to_version:
                    stack.pop()
            elif entry.from_version is not None:
                _put_on_top(stack, entry.from_version)
            if entry.action == "rollback" and entry.to_version in stack:
                while stack[-1] != entry.to_version:
                    stack.pop()
            if entry.to_version is not None:
                _put_on_top(stack, entry.to_version)
        if current is not None:
            _put_on_top(stack, current)
        return tuple(stack)

    def previous_champion(self, model: str, current: int | None = None) -> int | None:
        """The champion before the present one; None if there was none."""
        stack = self.champions(model, current)
        return stack[-2] if len(stack) > 1 else None


def _put_on_top(stack: list[int], version: int) -> None:
    if not stack or stack[-1] != version:
        stack.append(version)


def digest_of(entry: LedgerEntry) -> str:
    """SHA-256 over every field but the digest itself, so over the previous entry's digest too."""
    fields = dataclasses.asdict(entry)
    del fields["digest"]
    return sha256_bytes(_canonical(fields).encode())


def _canonical(value: Mapping[str, Any]) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _is_sealed(entry: LedgerEntry) -> bool:
    """Whether the digest is the entry's; values that none can be made of, such as a NaN, were never appended."""
    try:
        return entry.digest == digest_of(entry)
    except (TypeError, ValueError):
        return False


def _report(text: str) -> Mapping[str, Any]:
    """A gate report as it was appended; ValueError for what never was one: broken JSON, a NaN, a bare number."""
    report = json.loads(text, parse_float=_finite, parse_constant=_finite)
    if not isinstance(report, dict):
        raise ValueError(f"a gate report is a {type(report).__name__}; expected an object")  # noqa: TRY004, one kind
    return report


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is no finite number")
    return number


def place_of(engine: "Engine") -> str:
    """Where the ledger is, without credentials, wherever in the address they are."""
    return without_credentials(engine.url.render_as_string(hide_password=True))


@contextlib.contextmanager
def database_errors(engine: "Engine") -> Iterator[None]:
    """Turn what the database raises into UnavailableError, without credentials."""
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except SQLAlchemyError as exc:
        raise UnavailableError(
            f"ledger database {place_of(engine)}: {without_credentials(str(exc.__cause__ or exc))}. "
            "Make it reachable and writable, then repeat the command."
        ) from exc
