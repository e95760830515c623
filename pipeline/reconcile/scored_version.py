"""One version of a model, and the `mlflow models serve` that it runs in, if any."""

import contextlib
import os
import re
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from pipeline.package import SERVABLE
from registry.client import ModelVersion
from serving.client.address import parse_address
from serving.client.http import Http
from serving.client.mlflow_scoring import MlflowScoring
from serving.servable.golden import GoldenReport, check_golden, load_golden
from serving.servable.layout import GOLDEN, MANIFEST, REFERENCE_VARIANT
from serving.servable.manifest import read_manifest
from serving.targets import ServeSpec, open_target
from serving.targets.process import start

_HAS_ENDED = os.WEXITED | os.WNOHANG | os.WNOWAIT
_GOLDEN_TIMEOUT_S = 300.0  # MLflow takes a second for an image of 224 x 224
_GOLDEN_BATCH = 4
_OTHER_PORT = 8500  # ServeSpec asks for a gRPC port, which this target does not open


# How a program says why it ended, but for MLflow's own last words, which quote a command.
_RAISED = re.compile(r"^((?:\w+\.)*\w*(?:Error|Exception)\b.*)$", re.MULTILINE)
_QUOTES_COMMAND = "Exception: Command "


class ScoredVersion:
    """A verified copy of a version's MLflow model, which `start` serves and `stop` does not; `close` deletes it."""

    def __init__(self, version: ModelVersion, fetch: Callable[[Path], Path]) -> None:
        self.version = version.version
        self.url: str | None = None
        self._pid: int | None = None
        self._name = version.name
        self._server = ExitStack()
        self._scratch = tempfile.TemporaryDirectory(prefix="slipway-model-")
        try:
            self._root = fetch(Path(self._scratch.name))
        except BaseException:
            self._scratch.cleanup()
            raise

    def start(self, host: str, port: int, log: Path, timeout_s: float) -> None:
        """Serve it on a free port, the server's output appended to `log`; errors as those of `process.start`."""
        log.parent.mkdir(parents=True, exist_ok=True)
        spec = ServeSpec(
            name=self._name,
            base=self._root,
            rest_port=port,
            grpc_port=_OTHER_PORT if port != _OTHER_PORT else _OTHER_PORT + 1,
            host=host,
            model_directory=self._root,
        )
        running = self._server.enter_context(start(open_target("mlflow"), spec, log=log, ready_timeout_s=timeout_s))
        self.url, self._pid = running.addresses.rest, running.pid

    def runs(self) -> bool:
        """Whether its server runs; one that is slow to answer does."""
        return self._pid is not None and os.waitid(os.P_PID, self._pid, _HAS_ENDED) is None

    def ask_golden(self) -> GoldenReport:
        """Ask its server the version's golden requests; IntegrityError if it lacks an output."""
        servable = self._root / SERVABLE
        tolerance = read_manifest(servable / MANIFEST).variants[REFERENCE_VARIANT].tolerance
        asked = MlflowScoring(Http(parse_address(self.url or ""), _GOLDEN_TIMEOUT_S), self._name)
        with contextlib.closing(asked):
            return check_golden(load_golden(servable / GOLDEN), asked.predict_tensors, tolerance, _GOLDEN_BATCH)

    def stop(self) -> None:
        """End its server; the copy stays."""
        self.url = self._pid = None
        self._server.close()

    def close(self) -> None:
        """End its server and delete the copy."""
        self.stop()
        self._scratch.cleanup()


def last_error(log: Path) -> str:
    """What the server whose output is in `log` ended with, on one line; "" if it said nothing."""
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    raised = [line for line in _RAISED.findall(text) if not line.startswith(_QUOTES_COMMAND)]
    return str(raised[-1]).strip() if raised else ""
