"""What became of a version, written on it: three tags, and one line on top of its description, for the MLflow UI."""

import re
from datetime import UTC, datetime
from typing import Literal

from registry.client import Registry
from slipway.credentials import without_credentials

DEPLOY = "slipway.deploy"
DEPLOY_REASON = "slipway.deploy_reason"
DEPLOY_TIME = "slipway.deploy_time"
ROLLED_BACK = "slipway.rolled_back"  # why the version was rolled back from; it is not promoted again without force

State = Literal["live", "canary", "refused", "retired"]

LONGEST_REASON = 500
LONGEST_LINE = 400
LONGEST_DESCRIPTION = 5000  # characters that MLflow's table takes
# No Markdown: the model's page shows the first words of a description as they are written.
_LINE = re.compile(r"^[ \t]*Slipway: (?:live|canary|refused|retired) since \d.*(?:\r?\n){0,2}", re.MULTILINE)


def note(registry: Registry, name: str, version: int, state: State, reason: str, time_s: float) -> None:
    """Say on the version what became of it, why and when (`time_s`, since the epoch), replacing what was said before.

    Nothing is written when only the time is new. The rest of the description stays as it is; where it leaves no room
    for the line, the tags alone say it.
    """
    present = registry.version(name, version)
    reason = _shortened(without_credentials(reason), LONGEST_REASON)
    said = present.tags.get(DEPLOY), present.tags.get(DEPLOY_REASON)
    if said == (state, reason) and _LINE.search(present.description):
        return
    time = datetime.fromtimestamp(time_s, UTC)
    description = with_line(present.description, f"Slipway: {state} since {time:%Y-%m-%d %H:%M:%S} UTC. {reason}")
    if description != present.description:
        registry.set_description(name, version, description)
    # The state last: whoever reads a state that changed finds the reason and the time that belong to it.
    tags = {DEPLOY_REASON: reason, DEPLOY_TIME: time.isoformat(timespec="seconds"), DEPLOY: state}
    registry.set_tags(name, version, tags)


def is_line(description: str) -> bool:
    """Whether a description has the line that says what became of the version."""
    return _LINE.search(description) is not None


def with_line(description: str, line: str) -> str:
    """`description` with `line` on top, shortened to fit, and without the line that was there before."""
    rest = _LINE.sub("", description)
    room = LONGEST_DESCRIPTION - len(rest) - 2
    line = _shortened(line, min(LONGEST_LINE, room))
    if _LINE.fullmatch(line) is None:
        return rest
    return f"{line}\n\n{rest}" if rest else line


def _shortened(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: max(longest - 3, 0)]}..."
