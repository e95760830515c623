"""A browser for the session, and for each test a signed-in window and a world of its own."""

from contextlib import suppress
from urllib.error import HTTPError

import pytest

from tests.browser.chromium import chromium, window
from tests.browser.mlflow_ui import MlflowUi
from tests.browser.team_world import TeamWorld


@pytest.fixture(scope="session")
def browser():
    with chromium() as running:
        yield running


@pytest.fixture
def ui(browser, tracking_server, request):
    """MLflow's UI, signed in as the administrator. The test fails when a page of it had an error."""
    with window(browser, tracking_server.username, tracking_server.password) as opened:
        try:
            yield MlflowUi(opened, tracking_server.uri)
        finally:
            opened.screenshot(f"{request.node.name}-end")
        assert opened.problems == []


@pytest.fixture
def world(tracking_server, database_url, unique_name, tmp_path, monkeypatch):
    """A model of the test's own on the shared server, without versions; this process may sign in too."""
    for key, value in tracking_server.environment.items():
        monkeypatch.setenv(key, value)
    yield TeamWorld(tmp_path, tracking_server, database_url, unique_name)
    # Else the next test's reconcile finds a model that is to be served.
    with suppress(HTTPError):
        tracking_server.call("registered-models/delete", {"name": unique_name}, method="DELETE")
