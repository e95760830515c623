"""What the servers say that they saw, and which of them said nothing."""

from collections.abc import Sequence

from serving.client.observations import read_observations
from serving.observations import Observations
from slipway.errors import NotFoundError, UnavailableError

_ASK_S = 10.0


def read_servers(
    addresses: Sequence[str], name: str, versions: tuple[int, int]
) -> tuple[list[Observations], tuple[str, ...]]:
    """What each server at a REST address that answers saw of model `name`, and what is to be said of the others.

    A server without one of `versions` (stable, canary) is named, too. UnavailableError if none answers.
    """
    found, notes = [], []
    for address in addresses:
        try:
            seen = read_observations(address, name, _ASK_S)
        except (UnavailableError, NotFoundError) as error:
            notes.append(str(error))
            continue
        found.append(seen)
        here = {each.version for each in seen.versions}
        notes += [f"{address} has not loaded version {number}" for number in versions if number not in here]
    if not found:
        raise UnavailableError(f"no server tells what it saw: {'; '.join(notes)}")
    return found, tuple(notes)
