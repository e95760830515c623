"""MLflow's own scoring server, `mlflow models serve`: one version, REST only, no change of version while it runs."""

import os
import shutil
import sys
from pathlib import Path

from serving.client.address import parse_address
from serving.client.http import Http
from serving.client.mlflow_scoring import answers_as_mlflow
from serving.targets import Addresses, Command, ServeSpec, reachable
from slipway.errors import InputError

_PROBE_TIMEOUT_S = 5.0


class Mlflow:
    """Serves `spec.model_directory` on the REST port, in this environment."""

    def command(self, spec: ServeSpec) -> Command:
        """See Target."""
        spec.telemetry.flags("mlflow")  # it has none
        directory = spec.model_directory
        if directory is None or not (directory / "MLmodel").is_file():
            raise InputError(
                f"{directory or 'no model directory'}: expected a folder with a file MLmodel, for the target mlflow. "
                "Pass a registered version, or use `--target embedded`."
            )
        bin_directory = Path(sys.executable).parent
        mlflow = shutil.which("mlflow", path=bin_directory)
        if mlflow is None:
            raise InputError(
                f"{bin_directory / 'mlflow'} does not exist; expected MLflow beside this Python. "
                "pip install 'slipway[pipeline]'"
            )
        # `mlflow models serve` starts `uvicorn` by its name: it has to find this environment's.
        search_path = os.pathsep.join([str(bin_directory), os.environ.get("PATH", os.defpath)])
        where = (f"--host={spec.host}", f"--port={spec.rest_port}")
        return Command(
            (mlflow, "models", "serve", f"--model-uri={directory}", "--env-manager=local", *where, *spec.extra_args),
            {"PATH": search_path},
        )

    def addresses(self, spec: ServeSpec) -> Addresses:
        """See Target."""
        return Addresses(f"http://{reachable(spec.host)}:{spec.rest_port}")

    def state(self, spec: ServeSpec) -> tuple[bool, str]:
        """See Target."""
        with Http(parse_address(self.addresses(spec).rest), _PROBE_TIMEOUT_S) as http:
            ready = answers_as_mlflow(http)
        return ready, "scoring server answers" if ready else "it is no scoring server of MLflow's"
