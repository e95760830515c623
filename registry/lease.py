"""One holder at a time, across processes and machines, for as long as it lives or until its time is up."""

import contextlib
import getpass
import os
import platform
import random
import secrets
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from registry.ledger import Ledger, database_errors
from slipway.errors import ConflictError, UnavailableError

_FIRST_PAUSE_S, _LAST_PAUSE_S = 0.1, 1.0  # between two tries of one who waits, at most
_PLACE_S = 5.0  # for which the first in line stays so after its last try


@dataclass(frozen=True)
class Lease:
    """A lease that is held. `check` before each step that must not happen twice."""

    ledger: Ledger
    key: str
    token: str

    def check(self) -> None:
        """Return if the lease is still ours and its time is not up; else raise ConflictError."""
        row = _read(self.ledger, self.key)
        if row is None or row.token != self.token or row.expires_s <= self.ledger.clock():
            raise ConflictError(
                f"lease {self.key!r}: its time ran out before the work was done. "
                "Look at `status`, then repeat the command."
            )


@contextlib.contextmanager
def lease(ledger: Ledger, key: str, seconds: float, wait_s: float = 0.0) -> Iterator[Lease]:
    """Hold `key` for at most `seconds`; released at the end of the block.

    A lease is free when nobody holds it, when its time is up, or when its holder was a process of this machine that
    is gone. Until it is free, this waits up to `wait_s`; whoever has begun to wait comes before those who ask later, so
    that one who takes it again and again keeps nobody out. Times are those of the holders' own clocks: give leases
    longer than clocks of the machines differ.

    Raises:
        ConflictError: somebody else holds it; it says who, where and since when.
    """
    held = _acquire_within(ledger, key, seconds, wait_s)
    try:
        yield held
    finally:
        _release(held)


@contextlib.contextmanager
def renewed_lease(ledger: Ledger, key: str, seconds: float, wait_s: float = 0.0) -> Iterator[Lease]:
    """Hold `key` until the end of the block, however long that takes, renewed at each third of `seconds`.

    Another takes it over within `seconds` of this process's end, or of the loss of the database: then `check` raises.
    """
    held = _acquire_within(ledger, key, seconds, wait_s)
    done = threading.Event()
    renewing = threading.Thread(target=_keep, args=(held, seconds, done), name=f"lease {key}", daemon=True)
    renewing.start()
    try:
        yield held
    finally:
        done.set()
        renewing.join()
        _release(held)


def is_left(ledger: Ledger, key: str, pause_s: float = 1.0) -> bool:
    """Whether nobody renews the lease `key` any more; waits until that is known, at most until its time is up.

    Known at once is a holder that is a living process of this machine, which is no reason to wait. One elsewhere may
    be dead, and then its time passes; as soon as it is renewed, or another's, its holder lives.
    """
    row = _read(ledger, key)
    while row is not None and row.expires_s > ledger.clock():
        if row.host == platform.node() and row.process_space == _process_space():
            return _is_gone(row)
        time.sleep(pause_s)
        now = _read(ledger, key)
        if now is not None and (now.token, now.expires_s) != (row.token, row.expires_s):
            return False
        row = now
    return True


def _keep(held: Lease, seconds: float, done: threading.Event) -> None:
    while not done.wait(seconds / 3):
        with contextlib.suppress(UnavailableError):  # the next third may be better; `check` tells when time ran out
            if not _renew(held, seconds):
                return


def _renew(held: Lease, seconds: float) -> bool:
    """Whether it was still ours, and is for `seconds` from now."""
    from sqlalchemy import update

    from registry.database import LEASE

    ours = (LEASE.c.key == held.key) & (LEASE.c.token == held.token)
    values = {"expires_s": held.ledger.clock() + seconds}
    with database_errors(held.ledger.engine), held.ledger.engine.begin() as connection:
        return connection.execute(update(LEASE).where(ours).values(values)).rowcount == 1


def _acquire_within(ledger: Ledger, key: str, seconds: float, wait_s: float) -> Lease:
    deadline = time.monotonic() + wait_s
    longest_s = _FIRST_PAUSE_S
    place: Lease | None = None
    try:
        while True:
            try:
                if place is None:
                    _check_nobody_waits(ledger, key)
                return _acquire(ledger, key, seconds)
            except ConflictError:
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    raise
                place = _first_in_line(ledger, key, place)
            # Uneven pauses: waiters that met once do not meet at every try.
            time.sleep(min(left_s, random.uniform(longest_s / 2, longest_s)))
            longest_s = min(longest_s * 1.5, _LAST_PAUSE_S)
    finally:
        if place is not None:
            _release(place)


def _first_in_line(ledger: Ledger, key: str, place: Lease | None) -> Lease | None:
    """The place before everybody else who wants `key`, which is a lease itself; None if another has it."""
    if place is not None and _renew(place, _PLACE_S):
        return place
    with contextlib.suppress(ConflictError):
        return _acquire(ledger, _place_key(key), _PLACE_S)
    return None


def _check_nobody_waits(ledger: Ledger, key: str) -> None:
    now = ledger.clock()
    row = _read(ledger, _place_key(key))
    if row is not None and row.expires_s > now and not _is_gone(row):
        raise ConflictError(
            f"lease {key!r}: {row.holder} on {row.host}, process {row.pid}, waits for it and is next. "
            "Repeat the command in a moment."
        )


def _place_key(key: str) -> str:
    return f"{key} next"


def actor() -> str:
    """The name to write into the ledger: MLflow's user if one is configured, else the system's."""
    configured = os.environ.get("MLFLOW_TRACKING_USERNAME")
    if configured:
        return configured
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user id without a name
        return f"uid {os.getuid()}"


def _acquire(ledger: Ledger, key: str, seconds: float) -> Lease:
    from sqlalchemy import false, insert, or_, update
    from sqlalchemy.exc import IntegrityError as Duplicate

    from registry.database import LEASE

    now = ledger.clock()
    token = secrets.token_hex(16)
    values = {
        "token": token,
        "holder": actor(),
        "host": platform.node(),
        "process_space": _process_space(),
        "pid": os.getpid(),
        "acquired_s": now,
        "expires_s": now + seconds,
    }
    with database_errors(ledger.engine):
        with contextlib.suppress(Duplicate), ledger.engine.begin() as connection:
            connection.execute(insert(LEASE).values(key=key, **values))
            return Lease(ledger, key, token)
        row = _read(ledger, key)
        # The holder's token in the condition: whoever came between makes this update miss.
        abandoned = LEASE.c.token == row.token if row is not None and _is_gone(row) else false()
        free = (LEASE.c.key == key) & or_(LEASE.c.expires_s <= now, abandoned)
        with ledger.engine.begin() as connection:
            if connection.execute(update(LEASE).where(free).values(values)).rowcount == 1:
                return Lease(ledger, key, token)
    raise _held_by_another(key, row, now)


def _release(held: Lease) -> None:
    from sqlalchemy import delete

    from registry.database import LEASE

    # A database that is away now changes nothing: the lease's time runs out by itself.
    with (
        contextlib.suppress(UnavailableError),
        database_errors(held.ledger.engine),
        held.ledger.engine.begin() as connection,
    ):
        connection.execute(delete(LEASE).where((LEASE.c.key == held.key) & (LEASE.c.token == held.token)))


def _read(ledger: Ledger, key: str) -> Any:
    from sqlalchemy import select

    from registry.database import LEASE

    with database_errors(ledger.engine), ledger.engine.connect() as connection:
        return connection.execute(select(LEASE).where(LEASE.c.key == key)).one_or_none()


def _held_by_another(key: str, row: Any, now: float) -> ConflictError:
    if row is None:
        return ConflictError(f"lease {key!r}: somebody else held it until this moment. Repeat the command.")
    since = datetime.fromtimestamp(row.acquired_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return ConflictError(
        f"lease {key!r}: {row.holder} holds it on {row.host}, process {row.pid}, since {since}. "
        f"Wait for it (it is free in {max(row.expires_s - now, 0):.0f} s at the latest), "
        "then look at `status` and decide anew."
    )


def _process_space() -> str:
    """Where a process id means this process: the machine's boot and its process namespace; empty if unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _is_gone(row: Any) -> bool:
    if not row.process_space or row.process_space != _process_space():
        return False
    try:
        os.kill(row.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
