"""Chromium without a window, driven by Playwright; what goes wrong in its pages is collected."""

import os
import shutil
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ARTIFACTS_VARIABLE = "SLIPWAY_TEST_ARTIFACTS"
_NAMES = ("chromium", "chromium-browser", "google-chrome")
_PATIENCE_MS = 60_000  # a page of MLflow's takes a second, and half a minute on a machine with other things to do
_SIZE = {"width": 1400, "height": 860}


@dataclass
class Window:
    """A page in a browser of its own: no cookies, one login or none."""

    page: object
    problems: list[str] = field(default_factory=list)  # console errors, uncaught exceptions, answers from 400 on

    def listen(self):
        self.page.on("console", lambda said: said.type == "error" and self.problems.append(said.text))
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("response", lambda answer: answer.status >= 400 and self.problems.append(_refusal(answer)))

    def screenshot(self, name):
        """Keep a picture of the page among the tests' artifacts; returns where."""
        path = artifacts() / f"{name}.png"
        self.page.screenshot(path=path, animations="disabled")
        return path


@contextmanager
def chromium():
    """A running browser."""
    from playwright.sync_api import expect, sync_playwright

    program = next(filter(None, map(shutil.which, _NAMES)), None)
    if program is None:
        pytest.fail(f"none of {', '.join(_NAMES)} is on this machine. On Debian: apt-get install chromium")
    expect.set_options(timeout=_PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def window(browser, username=None, password=None):
    """A page whose browser answers the server's question for a password, as a person types it into the dialog."""
    login = None if username is None else {"username": username, "password": password}
    context = browser.new_context(http_credentials=login, viewport=_SIZE, locale="en-GB", timezone_id="UTC")
    context.set_default_timeout(_PATIENCE_MS)
    opened = Window(context.new_page())
    opened.listen()
    try:
        yield opened
    finally:
        context.close()


def artifacts():
    """The folder for what a test leaves to be looked at."""
    folder = Path(os.environ.get(ARTIFACTS_VARIABLE) or Path(__file__).parents[2] / "test-artifacts")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _refusal(answer):
    return f"HTTP {answer.status}: {answer.request.method} {answer.url}"
