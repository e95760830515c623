"""The whole stack: what needs what, started at once where that allows, ended in the other order."""

import shlex
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from deploy.stack.ceph import Ceph
from deploy.stack.daemon import Daemon
from deploy.stack.folder import Folder, is_free
from deploy.stack.mlflow_server import MlflowServer
from deploy.stack.postgresql import PostgreSQL
from deploy.stack.prometheus import prometheus
from deploy.stack.s3 import S3
from deploy.stack.service import Service
from deploy.stack.serving_path import (
    drift,
    drift_environment,
    environment,
    model_server,
    reconciler,
    sync,
    write_configuration,
)
from slipway.errors import InputError, UnavailableError

_START_S = 300.0  # MLflow's first start on a database runs all its migrations
_POLL_S = 0.2
_PORTS = ("postgresql", "s3", "mlflow", "grpc", "rest", "sync", "ceph-v2", "ceph-v1", "reconciler", "prometheus")

Say = Callable[[str], None]


@dataclass(frozen=True)
class Part:
    """A service, and the names of those that must be ready before it is started."""

    service: Service
    needs: tuple[str, ...] = ()


class Stack:
    """The services of one folder, whether they run or not.

    forgetful: a power cut may cost what is in the database; for tests.
    """

    def __init__(self, path: Path, *, forgetful: bool = False) -> None:
        self.folder = Folder(path)
        self.folder.make()
        self.postgresql = PostgreSQL(self.folder, forgetful=forgetful)
        self.ceph = Ceph(self.folder)
        self.s3 = S3(self.folder, self.ceph)
        self.mlflow = MlflowServer(self.folder, self.postgresql, self.s3)
        self.parts: dict[str, Part] = dict(self._parts())

    def _parts(self) -> Iterator[tuple[str, Part]]:
        """The services in the order of their needs."""
        yield "postgresql", Part(self.postgresql)
        yield "ceph", Part(self.ceph)
        yield "s3", Part(self.s3, ("ceph",))
        yield "mlflow", Part(self.mlflow, ("postgresql",))
        yield "sync", Part(sync(self.folder, self.s3), ("s3",))
        yield "model-server", Part(model_server(self.folder), ("sync",))  # which brings its config file
        yield "reconciler", Part(reconciler(self.folder, self.environment), ("s3", "mlflow", "model-server"))
        yield "drift", Part(drift(self.folder, drift_environment(self.mlflow, self.postgresql)), ("mlflow",))
        monitoring = prometheus(self.folder)
        if monitoring is not None:
            yield "prometheus", Part(monitoring)

    @property
    def environment(self) -> dict[str, str]:
        """What a `slipway` command needs."""
        return environment(self.s3, self.mlflow, self.postgresql)

    @property
    def addresses(self) -> Mapping[str, str]:
        """Where people and programs reach it."""
        port = self.folder.port
        found = {
            "MLflow": self.mlflow.url,
            "predictions, REST": f"http://127.0.0.1:{port('rest')}",
            "predictions, gRPC": f"grpc://127.0.0.1:{port('grpc')}",
            "S3": self.s3.endpoint,
            "PostgreSQL": f"127.0.0.1:{self.postgresql.port}",
            "sync": f"http://127.0.0.1:{port('sync')}/readyz",
        }
        return (
            {**found, "Prometheus": f"http://127.0.0.1:{port('prometheus')}"} if "prometheus" in self.parts else found
        )

    def up(self, say: Say) -> None:
        """Have everything running and ready; what runs already is left alone.

        InputError for a program that is missing or a port that is taken; UnavailableError, SlipwayError for a service
        that does not come up. Those that did stay up, and the next call goes on with the others.
        """
        with self.folder.locked():
            self._check_ports()
            write_configuration(self.folder)
            self._write_environment()
            with ThreadPoolExecutor(len(self.parts), "up") as pool:
                ready: dict[str, Future[None]] = {}
                for name, part in self.parts.items():
                    needs = [ready[each] for each in part.needs]
                    ready[name] = pool.submit(self._bring_up, name, needs, say)
            for future in ready.values():
                future.result()

    def down(self, say: Say) -> None:
        """End everything that runs."""
        with self.folder.locked():
            for name, part in reversed(self.parts.items()):
                part.service.stop()
                say(f"{name} ended")

    def remove(self) -> None:
        """Remove everything that it left. It must be down."""
        cluster = self.postgresql.directory()
        if cluster is not None:
            shutil.rmtree(cluster)
        shutil.rmtree(self.folder.path)

    def processes(self) -> dict[str, int]:
        """The pids of the processes that run, by name; each leads a session of what it started."""
        names = [path.stem for path in sorted((self.folder.path / "run").glob("*.pid"))]
        found = {name: Daemon(name, self.folder).pid for name in names}
        return {name: pid for name, pid in found.items() if pid is not None}

    def _bring_up(self, name: str, needs: list[Future[None]], say: Say) -> None:
        for each in needs:
            each.result()
        service = self.parts[name].service
        began = time.monotonic()
        service.start()
        while not service.answers():
            if time.monotonic() - began > _START_S:
                raise UnavailableError(
                    f"{name} does not answer after {_START_S:g} s; expected it to. Look at {self.folder.path}/log."
                )
            time.sleep(_POLL_S)
        service.prepare()
        say(f"{name} is ready after {time.monotonic() - began:.0f} s")

    def _check_ports(self) -> None:
        """InputError if a port is taken by somebody else, while none of ours runs."""
        if self.processes():
            return
        for name in _PORTS:
            port = self.folder.port(name)
            if not is_free(port):
                way = f"Or set SLIPWAY_STACK_{name.upper().replace('-', '_')}_PORT to another."
                raise InputError(
                    f"port {port} ({name}) is in use; expected it free. End what listens there."
                    + ("" if name.startswith("ceph") and self.ceph.data.exists() else f" {way}")
                )

    def _write_environment(self) -> None:
        """`env`, to be sourced: as a person's shell needs it."""
        shown = {**self.environment, "SLIPWAY_STACK": str(self.folder.path)}
        text = "".join(f"export {key}={shlex.quote(value)}\n" for key, value in shown.items())
        file = self.folder.path / "env"
        file.touch(0o600)
        file.chmod(0o600)
        file.write_text(text, encoding="utf-8")
