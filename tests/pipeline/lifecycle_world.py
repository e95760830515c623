"""A folder to run the lifecycle in, by its command line: a registry, a ledger, and a base path of its own."""

import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from click.testing import CliRunner

ROOT = Path(__file__).parents[2]
NAME = "resnet50"
NETWORK = ("--network", "tiny", "--image-size", "32", "--batch-norm-momentum", "0.9", "--schedule", "cosine")
TIMEOUT_S = 300


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def error(self):
        """The one line that the command ended with; an assertion if it said more, or a traceback."""
        lines = [line for line in self.err.splitlines() if line.strip()]
        said = [number for number, line in enumerate(lines) if line.lower().startswith("error: ")]
        assert "Traceback" not in self.err, self.err
        assert said == [len(lines) - 1], self.err
        return lines[-1].partition(": ")[2]

    @property
    def next_words(self):
        """The arguments of the command that the output says to run next."""
        line = re.findall(r"^next:? +(?:slipway|python -m pipeline) (.*)$", self.out, re.MULTILINE)[-1]
        return shlex.split(line)

    def found(self, pattern):
        match = re.search(pattern, self.out)
        assert match, self.out
        return match[1]


class World:
    """A folder that commands run in. Its runs' artifacts lie where they were logged, also in a copy of it."""

    def __init__(self, folder):
        self.folder = folder
        self.uri = f"sqlite:///{folder}/mlflow.db"
        self.base = folder / "serving_base"

    @property
    def environment(self):
        return {
            **{key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "SLIPWAY_", "TF_"))},
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "MLFLOW_TRACKING_URI": self.uri,
            "MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL": "1",
        }

    def run(self, *words, timeout_s=TIMEOUT_S, **environment):
        """`python -m pipeline WORDS` as a process."""
        return self.finish(self.start(*words, **environment), timeout_s)

    def start(self, *words, module="pipeline", **environment):
        return self.popen([sys.executable, "-m", module, *map(str, words)], **environment)

    def popen(self, command, **environment):
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    @staticmethod
    def finish(process, timeout_s=TIMEOUT_S):
        """Wait for a process; it is killed, with what it started, if it takes too long."""
        try:
            out, err = process.communicate(timeout=timeout_s)
            return Done(process.returncode, out, err)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
            raise AssertionError(f"{process.args} did not end within {timeout_s} s:\n{out}\n{err}") from None
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def call(self, patch, *words):
        """The same command inside this process: a second instead of ten."""
        import mlflow

        from pipeline.cli import main

        with patch.context() as here:
            here.setattr("mlflow.tracking._tracking_service.utils._tracking_uri", None, raising=False)
            here.setenv("MLFLOW_TRACKING_URI", self.uri)
            here.setenv("MLFLOW_EXPERIMENT_ID", "")
            here.delenv("MLFLOW_EXPERIMENT_ID")
            here.setattr("mlflow.tracking.fluent._active_experiment_id", None)
            here.chdir(self.folder)
            assert mlflow.get_tracking_uri() == self.uri
            result = CliRunner().invoke(main, [str(word) for word in words], prog_name="slipway")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Done(result.exit_code, result.stdout, result.stderr)

    @property
    def registry(self):
        from registry.client import Registry

        return Registry(self.uri)

    @property
    def ledger(self):
        from registry.ledger import Ledger

        return Ledger(f"sqlite:///{self.folder}/slipway.db")

    def servable(self, version, name=NAME):
        """The version's servable in the artifact store."""
        return self.registry.local_directory(self.registry.version(name, version)) / "servable"

    def live(self, name=NAME):
        """What the registry, the ledger, and both config files say is live."""
        from serving.model_config import live_version

        labels = (self.base / "labels.config").read_text()
        return {
            "alias": self.registry.aliases(name).get("champion"),
            "production": [each.version for each in self.registry.versions(name) if each.stage == "Production"],
            "ledger": self.ledger.champions(name)[-1],
            "models.config": live_version((self.base / "models.config").read_bytes(), name),
            "labels.config": int(re.search(r'key: "stable"\s+value: (\d+)', labels)[1]),
        }

    def state(self, name=NAME):
        """Everything that a refusal must leave as it is."""
        return {
            "versions": [(each.version, each.aliases, each.stage) for each in self.registry.versions(name)],
            "ledger": self.ledger.entries(),
            "ledger file": hashlib.sha256((self.folder / "slipway.db").read_bytes()).hexdigest(),
            "base": {
                str(path.relative_to(self.base)): hashlib.sha256(path.read_bytes()).hexdigest()
                if path.is_file()
                else ""
                for path in sorted(self.base.rglob("*"))
            },
        }

    def picture(self, digit=7):
        """One of the digits' pictures."""
        return min((self.folder / ".slipway" / "digits" / str(digit)).iterdir())

    def copy(self, folder):
        """Another world with the same history. Artifacts of runs and versions are the ones of this one: read them."""
        folder.mkdir(exist_ok=True)
        for database in ("mlflow.db", "slipway.db"):
            shutil.copy(self.folder / database, folder)
        (folder / ".slipway").symlink_to(self.folder / ".slipway")
        world = World(folder)
        if self.base.exists():
            shutil.copytree(self.base, world.base)
            for config in ("models.config", "labels.config"):
                text = (world.base / config).read_text()
                (world.base / config).write_text(text.replace(str(self.base), str(world.base)))
        return world


def free_ports(count=2):
    """Ports that nothing listens on just now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@contextmanager
def background(world, *words, module="pipeline", log):
    """A command that runs until the block ends; its output goes to the file `log`."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *map(str, words)],
            cwd=world.folder,
            env=world.environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(60)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_until(condition, what, timeout_s=TIMEOUT_S, every_s=0.1):
    """Return the first true value of `condition()`; an assertion that says `what` if it never is."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            if value := condition():
                return value
        except OSError:
            pass
        time.sleep(every_s)
    raise AssertionError(what() if callable(what) else what)


def json_of(done):
    """The one JSON document that a command printed."""
    return json.loads(done.out)
