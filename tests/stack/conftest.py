"""One stack for the session: the one that runs where SLIPWAY_STACK names its folder, or one that goes with the session.

Whatever is made in it is named anew for each session, and a stack that runs is left as it was found.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from slipway.errors import SlipwayError
from tests.pipeline.lifecycle_world import ROOT

_END_S = 120


def _running(folder):
    """The stack of that folder, if all of it answers."""
    from deploy.stack.stack import Stack

    if not folder or not Path(folder, "env").exists():
        return None
    stack = Stack(Path(folder))
    try:
        return stack if all(part.service.answers() for part in stack.parts.values()) else None
    except SlipwayError:
        return None


@pytest.fixture(scope="session")
def stack():
    """A running `deploy.stack.stack.Stack`."""
    from deploy.stack.stack import Stack

    running = _running(os.environ.get("SLIPWAY_STACK"))
    if running is not None:
        yield running
        return
    folder = Path(tempfile.mkdtemp(prefix="slipway-stack-"))
    environment = {key: value for key, value in os.environ.items() if not key.startswith("SLIPWAY_")}
    with subprocess.Popen(
        [sys.executable, "-m", "tests.stack.keeper", str(folder)],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is the session's, which then ends this one
    ) as keeper:
        assert keeper.stdout.readline() == b"up\n", "the stack did not come up: what it said is above"
        yield Stack(folder)
        keeper.stdin.close()
        keeper.wait(_END_S)


@pytest.fixture
def signed_in(stack, monkeypatch):
    """This process may do what the stack's users may."""
    for key, value in stack.environment.items():
        monkeypatch.setenv(key, value)
    return stack
