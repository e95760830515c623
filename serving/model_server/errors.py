"""What a request may fail with: a canonical code, as TensorFlow Serving gives it, and its HTTP status."""

from pathlib import Path

from serving.wire.status_pb2 import Code
from slipway.errors import IntegrityError, SlipwayError

_HTTP_STATUS: dict[int, int] = {
    Code.OK: 200,
    Code.CANCELLED: 499,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400,
    Code.ABORTED: 409,
    Code.OUT_OF_RANGE: 400,
    Code.UNIMPLEMENTED: 501,
    Code.UNAVAILABLE: 503,
    Code.UNAUTHENTICATED: 401,
}


class GoldenError(IntegrityError):
    """A version does not answer its golden requests as when it was built."""


class ServingError(Exception):
    """A request, or a load, that failed; `code` is canonical, the text goes to the client."""

    golden = False  # whether golden requests were answered wrong

    def __init__(self, code: Code.ValueType, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    @property
    def http_status(self) -> int:
        """The status that TensorFlow Serving answers for the code; 500 for the unexpected ones."""
        return _HTTP_STATUS.get(self.code, 500)


class RefusedError(ServingError):
    """A request that was not run since too many came: neither it nor a version is at fault."""


def invalid_argument(message: str) -> ServingError:
    """The request itself is wrong."""
    return ServingError(Code.INVALID_ARGUMENT, message)


def not_found(message: str) -> ServingError:
    """Nothing of that name, version or state."""
    return ServingError(Code.NOT_FOUND, message)


def failed_precondition(message: str) -> ServingError:
    """Right in itself, but not in the server's present state."""
    return ServingError(Code.FAILED_PRECONDITION, message)


def load_failure(error: Exception, version_directory: Path) -> ServingError:
    """What a load failed by; DATA_LOSS if the files are not what they should be, which no retry mends."""
    if isinstance(error, ServingError):
        return error
    if isinstance(error, SlipwayError):
        code = Code.DATA_LOSS if isinstance(error, IntegrityError) else Code.FAILED_PRECONDITION
        failure = ServingError(code, str(error))
        failure.golden = isinstance(error, GoldenError)
        return failure
    reason = f"{type(error).__name__}: {error}".splitlines()[0]
    return ServingError(Code.INTERNAL, f"{version_directory}: cannot be loaded: {reason}")
