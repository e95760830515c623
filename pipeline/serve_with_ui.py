"""The model server and the MLflow UI together, until stopped: `make serve`."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import mlflow

from pipeline.config import Config
from pipeline.progress import report
from pipeline.serve import Listen, serve
from slipway.errors import SlipwayError

_UI = "http://127.0.0.1:5000"


def main() -> int:
    """Serve on 8501 and 8500, the UI on 5000; both end together."""
    tracking_uri = mlflow.get_tracking_uri()
    command = [str(Path(sys.executable).parent / "mlflow"), "ui", "--host", "127.0.0.1", "--port", "5000"]
    ui = subprocess.Popen([*command, "--backend-store-uri", tracking_uri], start_new_session=True)
    report(f"MLflow UI at {_UI}/#/models/{Config().name}")
    try:
        return serve(Config(), "embedded", Listen("127.0.0.1", 8501, 8500))
    except SlipwayError as error:
        report(f"Error: {error}")
        return error.exit_code
    finally:
        os.killpg(ui.pid, signal.SIGTERM)
        ui.wait()


if __name__ == "__main__":
    sys.exit(main())
