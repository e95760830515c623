"""Errors by the caller's next move: fix the input, try again, or stop.

Every message is one line that names the place, what was expected there, and the remedy.
A gate's refusal is not here: it is a value (`registry.gate.GateReport`), and exit code 3.
"""


class SlipwayError(Exception):
    """A failure that we foresaw. The command line prints its message alone, without a traceback."""

    exit_code = 1


class InputError(SlipwayError):
    """What the user gave is wrong; the same call fails again until it is changed."""

    exit_code = 2


class UnavailableError(SlipwayError):
    """Something outside (a server, a disk, an address) does not answer; the same call may pass later."""


class ConflictError(SlipwayError):
    """Somebody else did, or is doing, what excludes this; look at the present state, then decide anew."""


class IntegrityError(SlipwayError):
    """Bytes are not the ones that were recorded. Nothing that failed this may be served."""


class NotFoundError(SlipwayError):
    """A run, version, alias or file that was named does not exist."""


class Interrupted(SlipwayError):  # noqa: N818 - an order, not a fault
    """The user stopped the command; what it had finished is kept."""

    exit_code = 130
