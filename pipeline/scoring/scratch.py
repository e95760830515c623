"""A run's own folder on this machine: what has to be written down or fetched lies there, and goes when it ends."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from serving.stores.staging import staging_directory, sweep
from slipway.errors import UnavailableError


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """What the operating system says of `path`, or of what is below it."""
    try:
        yield
    except OSError as error:
        raise UnavailableError(
            f"{error.filename or path}: {error.strerror or error}; expected to write what a run needs there. Make "
            "room, mend its permissions, or pass another --workdir, then run the same command again: finished parts "
            "are kept."
        ) from error


@contextmanager
def scratch_below(workdir: Path) -> Iterator[Path]:
    """A new folder below `workdir` until the block ends; what a killed run left of its own goes first."""
    parent = workdir.absolute() / "score"
    with disk_errors(parent):
        parent.mkdir(parents=True, exist_ok=True)
        sweep(parent)
    with ExitStack() as stack:
        with disk_errors(parent):
            folder = stack.enter_context(staging_directory(parent))
        yield folder
