"""Followers as one who only looks sees them: a server that does not answer is a finding, not an error."""

from collections.abc import Sequence

from pipeline.reconcile.followers import Followers, Place
from pipeline.reconcile.serving import ServerReport
from slipway.errors import UnavailableError


class Onlooker(Followers):
    """Followers, each asked by itself, of which one that does not answer is left out and named."""

    def __init__(self, addresses: Sequence[str], place: Place) -> None:
        super().__init__((), place)
        self._each = {address: Followers((address,), place) for address in addresses}

    def close(self) -> None:
        """Let go of all connections."""
        for follower in self._each.values():
            follower.close()

    def report(self, name: str) -> tuple[ServerReport, ...]:
        """See Serving; but it raises nothing."""
        return tuple(_asked(address, follower, name) for address, follower in self._each.items())


def _asked(address: str, follower: Followers, name: str) -> ServerReport:
    try:
        (found,) = follower.report(name)
    except UnavailableError as error:
        return ServerReport(address, left_out=str(error).removeprefix(address).lstrip(": "))
    return found
