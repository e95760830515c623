"""For every test: no deadline on single examples, since machines are shared and uneven; and who shares a process."""

import os
import sys

import pytest
from hypothesis import settings

settings.register_profile("slipway", deadline=None)
settings.load_profile("slipway")

# PostgreSQL, MLflow's server and a browser, for whoever names them: made at the first use.
pytest_plugins = ("tests.s3_server", "tests.tracking_server.fixtures")

# Costly to make, and made once a process: files that share one of them run in one process, and no file in two.
_SHARED = ("original", "stack", "postgresql")


@pytest.fixture(autouse=True)
def own_tracking_uri():
    """Where a test has MLflow write holds for that test alone: MLflow keeps it in a global, before the environment."""
    before = os.environ.get("MLFLOW_TRACKING_URI")
    yield
    mlflow = sys.modules.get("mlflow")
    if mlflow is not None and hasattr(mlflow, "set_tracking_uri"):
        mlflow.set_tracking_uri(None)
    if before is not None:
        os.environ["MLFLOW_TRACKING_URI"] = before


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist looks at the groups
def pytest_collection_modifyitems(items):
    used: dict[str, set[str]] = {}
    for item in items:
        used.setdefault(item.nodeid.partition("::")[0], set()).update(item.fixturenames)
    for item in items:
        file = item.nodeid.partition("::")[0]
        item.add_marker(pytest.mark.xdist_group(next((name for name in _SHARED if name in used[file]), file)))
