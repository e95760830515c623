"""MLflow's server: a login for everybody, records in PostgreSQL, artifacts in S3 by way of the server.

People and processes sign in as `slipway`, which may do as it likes with what it made, and read the rest: with no
permission at all by default MLflow refuses to look for a model that is not there yet, so none could be registered. The
administrator's password stays in the stack's folder.
"""

import sys

from deploy.first_use import ADMINISTRATOR, USER, have_user
from deploy.stack.daemon import Daemon
from deploy.stack.folder import Folder
from deploy.stack.postgresql import PostgreSQL
from deploy.stack.s3 import S3
from deploy.stack.service import http_status


class MlflowServer:
    """See Service."""

    def __init__(self, folder: Folder, database: PostgreSQL, s3: S3) -> None:
        self.port = folder.port("mlflow")
        self.daemon = Daemon("mlflow", folder)
        self.folder = folder
        self._database = database
        self._s3 = s3

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def login(self) -> dict[str, str]:
        """What a client needs in its environment."""
        return {
            "MLFLOW_TRACKING_URI": self.url,
            "MLFLOW_TRACKING_USERNAME": USER,
            "MLFLOW_TRACKING_PASSWORD": self.folder.password(f"mlflow-{USER}"),
        }

    def start(self) -> None:
        """See Service."""
        here = f"127.0.0.1:{self.port},localhost:{self.port}"
        flags = ["--app-name", "basic-auth", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        flags += ["--allowed-hosts", here, "--cors-allowed-origins", f"http://127.0.0.1:{self.port}"]
        flags += ["--serve-artifacts", "--artifacts-destination", "s3://mlflow/artifacts"]
        self.daemon.start([sys.executable, "-m", "mlflow", "server", *flags], self._environment())

    def answers(self) -> bool:
        """See Service."""
        self.daemon.check()
        return http_status(f"{self.url}/health") == 200

    def prepare(self) -> None:
        """See Service."""
        have_user(self.url, *(self.folder.password(f"mlflow-{name}") for name in (ADMINISTRATOR, USER)))

    def stop(self) -> None:
        """See Service."""
        self.daemon.stop()

    def _environment(self) -> dict[str, str]:
        store, logins = (
            self._database.url(name, "mlflow").replace("postgresql:", "postgresql+psycopg:")
            for name in ("mlflow", "mlflow_login")
        )
        settings = self.folder.write_secret(
            "mlflow-login.ini",
            f"[mlflow]\ndefault_permission = READ\ndatabase_uri = {logins}\n"
            "auth_cache_ttl_seconds = 60\n",  # else each request hashes the password anew
        )
        return {
            **self._s3.environment("mlflow"),
            "MLFLOW_S3_ENDPOINT_URL": self._s3.endpoint,
            "PGPASSFILE": str(self._database.password_file("mlflow")),
            "MLFLOW_BACKEND_STORE_URI": store,
            "MLFLOW_AUTH_CONFIG_PATH": str(settings),
            "MLFLOW_AUTH_ADMIN_USERNAME": ADMINISTRATOR,
            "MLFLOW_AUTH_ADMIN_PASSWORD": self.folder.password(f"mlflow-{ADMINISTRATOR}"),
            "MLFLOW_FLASK_SERVER_SECRET_KEY": self.folder.password("mlflow-cookies"),
            "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # seven processes more, none for the registry
            "TMPDIR": str(self.folder.inside("tmp")),  # it leaves a lock's file for each database there
        }
