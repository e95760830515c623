"""Two workers on this machine, as two commands with TF_CONFIG, and the run that they make."""

import json
import os
import shutil
import signal
import socket
import time
from contextlib import ExitStack, suppress

import psutil
from mlflow import MlflowClient

from tests.pipeline.lifecycle_world import World, wait_until

PLAIN = ("--network", "plain", "--image-size", "32", "--shift", "0.0625")


class Pair(World):
    """A folder with two workers' commands; each worker has a working folder of its own, the registry is the chief's."""

    def __init__(self, folder, empty_store):
        super().__init__(folder)
        shutil.copy(empty_store, folder / "mlflow.db")
        with ExitStack() as held:
            sockets = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]
            self.ports = [each.getsockname()[1] for each in sockets]

    def worker(self, index, *words):
        """Start `slipway train --distribute` as a worker."""
        cluster = {"worker": [f"127.0.0.1:{port}" for port in self.ports]}
        place = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}})
        words = ("train", "--distribute", "--workdir", self.folder / f"worker-{index}", *words)
        return self.start(*words, TF_CONFIG=place, MLFLOW_TRACKING_URI=self.uri if index == 0 else "http://127.0.0.1:9")

    def trained(self, *words, timeout_s=300):
        """Both workers, to their end."""
        started = [self.worker(index, *words) for index in (1, 0)]
        return [self.finish(process, timeout_s) for process in reversed(started)]

    @property
    def runs(self):
        client = MlflowClient(self.uri)
        return client.search_runs([each.experiment_id for each in client.search_experiments()])

    @property
    def run_id(self):
        return self.runs[0].info.run_id

    def curve(self, metric="loss", run_id=None):
        """Steps and values of a metric, as they were logged."""
        points = MlflowClient(self.uri).get_metric_history(run_id or self.run_id, metric)
        return [point.step for point in points], [point.value for point in points]

    def wait_for_epoch(self, epoch, *processes, timeout_s=300):
        """Until the chief has kept that epoch."""

        def kept():
            assert all(process.poll() is None for process in processes), "a worker has ended"
            return any(self.folder.glob(f"mlruns/*/*/artifacts/checkpoint/epoch-{epoch:04d}.keras"))

        wait_until(kept, f"epoch {epoch} was not kept", timeout_s)


def kill_process_of(command):
    """SIGKILL of the process that a worker's command has started to compute in; its pid."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for child in psutil.Process(command.pid).children():
            with suppress(psutil.Error):
                if "pipeline.distribution.working" in child.cmdline():
                    child.kill()
                    return child.pid
        time.sleep(0.1)
    raise AssertionError("the command computes in no process")


def kill(command):
    """SIGKILL of a worker's command alone: what it has started has to end by itself."""
    children = psutil.Process(command.pid).children(recursive=True)
    os.kill(command.pid, signal.SIGKILL)
    command.wait()
    _, alive = psutil.wait_procs(children, timeout=30)
    assert not alive, f"{alive} outlived the worker that started it"
