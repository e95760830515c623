"""One PostgreSQL and one MLflow server for the whole test session, started when the first test asks for them.

Tests keep apart by names of models and experiments (`unique_name`), and by databases (`database_url`).
"""

import secrets

import pytest


@pytest.fixture(scope="session")
def postgresql():
    """A PostgreSQL cluster: `create_database()` returns the address of an empty database."""
    from tests.tracking_server.postgresql import postgresql_cluster

    with postgresql_cluster() as cluster:
        yield cluster


@pytest.fixture
def database_url(postgresql):
    """An empty PostgreSQL database of the test's own, as SLIPWAY_DATABASE_URL takes it."""
    return postgresql.create_database()


@pytest.fixture(scope="session")
def tracking_server(postgresql, tmp_path_factory):
    """MLflow's server with basic authentication, on that PostgreSQL."""
    from tests.tracking_server.mlflow_server import tracking_server as started

    with started(postgresql, tmp_path_factory.mktemp("tracking-server")) as server:
        yield server


@pytest.fixture
def unique_name():
    """A registered model's name that no other test has."""
    return f"digits-{secrets.token_hex(3)}"
