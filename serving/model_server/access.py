"""Who may ask what: a request's bearer token, held against those of `--access_tokens_file`."""

import logging
import time
from collections.abc import Callable
from hmac import compare_digest
from pathlib import Path

from serving.model_server.access_tokens import (
    ADMIN,
    METRICS,
    PREDICT,
    AccessToken,
    digest_of,
    parse_tokens,
    read_guarded,
)
from serving.model_server.errors import ServingError
from serving.model_server.followed_file import FollowedFile
from serving.wire.status_pb2 import Code

# What a request needs: one of these scopes.
TO_PREDICT, TO_READ_METRICS, TO_CHANGE = frozenset({PREDICT}), frozenset({METRICS}), frozenset({ADMIN})
TO_LOOK = frozenset({PREDICT, ADMIN})
Needed = frozenset[str]

MISSING, UNKNOWN, EXPIRED, SCOPE = REASONS = ("missing", "unknown", "expired", "scope")
_BEARER = b"bearer "
_LOG = logging.getLogger(__name__)


class DeniedError(ServingError):
    """A request that is not let in. reason: one of REASONS. token: the name of its token, if that is known."""

    def __init__(self, reason: str, message: str, challenge: str, token: str = "") -> None:  # a name # nosec B107
        super().__init__(Code.PERMISSION_DENIED if reason == SCOPE else Code.UNAUTHENTICATED, message)
        self.reason = reason
        self.challenge = challenge  # what WWW-Authenticate says, by RFC 6750
        self.token = token


class Access:
    """Follows the file of tokens at `path`. on_denied: told the API and the reason. clock: seconds since the epoch."""

    def __init__(
        self,
        path: Path,
        on_denied: Callable[[str, str], None] = lambda _api, _reason: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._path = path
        self._on_denied = on_denied
        self._clock = clock
        self._tokens: tuple[AccessToken, ...] = ()
        self.file = FollowedFile(path, read_guarded, self._take)

    def admit(self, api: str, authorization: bytes, needed: Needed) -> str:
        """The name of the token of a request; `authorization` is its header's value, b"" if there is none.

        DeniedError if it has none, or one that is unknown, expired, or of none of the scopes needed. Costs one SHA-256.
        """
        try:
            return self._admit(authorization, needed)
        except DeniedError as error:
            self._on_denied(api, error.reason)
            raise

    def _admit(self, authorization: bytes, needed: Needed) -> str:
        if authorization[: len(_BEARER)].lower() != _BEARER:
            text = "This server answers who has a token: send the header Authorization: Bearer TOKEN."
            raise DeniedError(MISSING, text, "Bearer")
        token = self._known(digest_of(authorization[len(_BEARER) :].strip()))
        if token is None:
            raise DeniedError(UNKNOWN, "This token is not known here.", _invalid("unknown"))
        if token.is_expired(self._clock()):
            raise DeniedError(
                EXPIRED, f"Token {token.name} expired on {token.expires}.", _invalid("expired"), token.name
            )
        if not token.scopes & needed:
            wanted = " or ".join(sorted(needed))
            text = f"Token {token.name} is for {', '.join(sorted(token.scopes))}; this needs {wanted}."
            challenge = f'Bearer error="insufficient_scope", scope="{" ".join(sorted(needed))}"'
            raise DeniedError(SCOPE, text, challenge, token.name)
        return token.name

    def _known(self, digest: bytes) -> AccessToken | None:
        found = None
        for token in self._tokens:  # every one, each in constant time: the time says nothing of which, or how nearly
            if compare_digest(token.digest, digest):
                found = token
        return found

    def _take(self, data: bytes) -> None:
        self._tokens = parse_tokens(data, str(self._path))
        if not self._tokens:
            _LOG.warning("%s holds no token: nobody is let in", self._path)


def _invalid(why: str) -> str:
    return f'Bearer error="invalid_token", error_description="{why}"'
