"""For every test: no deadline on single examples, since machines are shared and uneven."""

from hypothesis import settings

settings.register_profile("slipway", deadline=None)
settings.load_profile("slipway")

# PostgreSQL, MLflow's server and a browser, for whoever names them: made at the first use.
pytest_plugins = ("tests.s3_server", "tests.tracking_server.fixtures")
