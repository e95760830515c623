"""What lies in S3, in the middle of a run: what S3 says then is told apart by who can mend it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from slipway.errors import ConflictError, InputError, UnavailableError

if TYPE_CHECKING:
    from serving.stores.s3_listing import ListedBucket


@contextmanager
def resumable() -> Iterator[None]:
    """A login that S3 refuses in the middle of a run is nothing that another option mends."""
    from serving.stores.s3_errors import DeniedError

    try:
        yield
    except DeniedError:
        raise
    except InputError as error:
        raise UnavailableError(f"{error} Then run the same command again: finished parts are kept.") from error


def changed(place: str) -> ConflictError:
    """The error for what is not as it was listed any more."""
    return ConflictError(
        f"{place}: changed since it was listed; expected an input that stays as it is. Score it into another --output."
    )


class Buckets:
    """Buckets by their names, each opened once. May be used from many threads."""

    def __init__(self) -> None:
        self._opened: dict[str, ListedBucket] = {}
        self._opening = threading.Lock()

    def open(self, name: str) -> "ListedBucket":
        """The bucket of that name; InputError for a name that none can have."""
        from serving.stores.s3_listing import ListedBucket

        with self._opening:
            if name not in self._opened:
                self._opened[name] = ListedBucket(name)
            return self._opened[name]
