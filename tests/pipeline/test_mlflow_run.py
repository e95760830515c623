"""`mlflow run` builds the environment that conda.yaml describes, and runs a step in it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RUN = (Path(sys.executable).with_name("mlflow"), "run", ROOT, "-e", "status", "--env-manager", "uv")


@pytest.mark.integration
@pytest.mark.timeout(1500)  # installs every pinned package, from the network where nothing is cached
def test_mlflow_run_builds_its_environment_and_shows_the_status_of_a_model(tmp_path):
    tracking_uri = f"sqlite:///{tmp_path}/mlflow.db"
    environment = {
        **os.environ,
        "MLFLOW_TRACKING_URI": tracking_uri,
        "MLFLOW_ENV_ROOT": str(tmp_path / "environments"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    environment.pop("VIRTUAL_ENV", None)
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri)
    client.create_registered_model("flowers")
    client.create_model_version("flowers", source=str(tmp_path), run_id=None)
    done = subprocess.run(
        [*RUN, "-P", "name=flowers", "-P", f"base={tmp_path / 'base'}"],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert "flowers: champion none" in done.stdout
    installed = list((tmp_path / "environments").rglob("site-packages/mlflow"))
    assert installed, "the step ran in another environment"
