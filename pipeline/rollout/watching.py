"""Looks at a rollout, one after another, until it has ended."""

import time
from collections.abc import Callable

from pipeline.rollout.looking import Conduct, Outcome, look
from slipway.errors import ConflictError, UnavailableError

Say = Callable[[str], None]


def watch(conduct: Conduct, interval_s: float, say: Say, rest: Callable[[float], None] = time.sleep) -> Outcome:
    """Look each `interval_s` until the rollout is over, was refused, or is undecided; the last look's outcome.

    What changes is said: a table for each new verdict or step, a line for each other look. A server, registry or ledger
    that does not answer is one line, as is somebody who moves an alias meanwhile, and the next look tries again.

    ConflictError: another process conducts the rollout now.
    """
    said: tuple[str, str] = ("", "")
    while True:
        try:
            outcome = _look(conduct)
        except UnavailableError as error:
            say(f"waiting: {error}")
        else:
            if outcome.is_last:
                return outcome
            report = outcome.report
            assert report is not None
            if (report.verdict, report.step) == said:
                say(f"look {report.look}, {report.step}: {report.answered} requests; {report.verdict}: {report.reason}")
            else:
                say(report.table())
            said = (report.verdict, report.step)
        rest(interval_s)


def _look(conduct: Conduct) -> Outcome:
    try:
        return look(conduct)
    except ConflictError as error:
        conduct.world.check()
        raise UnavailableError(str(error)) from error
