"""A team's set-up: MLflow's server asks for passwords and serves the artifacts; its records and our ledger: PostgreSQL.

Versions are real servables of a matrix and a softmax, which a server without TensorFlow runs.
"""

import shutil
import urllib.error
import urllib.request
from contextlib import contextmanager

import numpy as np

from registry.client import NewVersion, Registry
from registry.ledger import Ledger
from registry.register import MANIFEST_DIGEST
from tests.pipeline.lifecycle_world import World, background, free_ports, json_of, wait_until
from tests.serving.model_server.servables import WEIGHTS, answers, seal_servable

VARIANTS = {"onnx-fp32": 90.0}


class TeamWorld(World):
    """One model's world. `environment` is what each of its processes gets, the login among it."""

    def __init__(self, folder, server, database_url, name):
        super().__init__(folder)
        self.server = server
        self.uri = server.uri
        self.database_url = database_url
        self.name = name

    @property
    def environment(self):
        return {**super().environment, **self.server.environment, "SLIPWAY_DATABASE_URL": self.database_url}

    @property
    def registry(self):
        return Registry(self.uri)

    @property
    def ledger(self):
        return Ledger(self.database_url)

    def register(self, seed, **servable):
        """Register a version whose weights follow from `seed`: each answers otherwise than the others.

        servable: what is wrong with it, as `seal_servable` takes it.
        """
        from mlflow import MlflowClient

        client = MlflowClient(self.uri)
        experiment = client.get_experiment_by_name(self.name)
        experiment_id = client.create_experiment(self.name) if experiment is None else experiment.experiment_id
        run_id = client.create_run(experiment_id, run_name=f"train-{seed}").info.run_id
        root = self.folder / f"to-log-{seed}"
        digest = seal_servable(root / "servable", VARIANTS, run_id=run_id, weights=weights(seed), **servable)
        _write_mlmodel(root)
        model = client.create_logged_model(experiment_id, name="classifier", source_run_id=run_id)
        client.log_model_artifacts(model.model_id, str(root))
        client.finalize_logged_model(model.model_id, "READY")
        shutil.rmtree(root)
        source, tags = f"models:/{model.model_id}", {MANIFEST_DIGEST: digest}
        return self.registry.create_version(NewVersion(self.name, source, run_id, tags, f"Trained from seed {seed}."))

    @contextmanager
    def served(self, *, watcher_beside):
        """`slipway serve`, and a watcher of the registry in it or as a process of its own; yields where to ask.

        Both look at the registry and at their files each second.
        """
        rest_port, grpc_port = free_ports()
        ports = ("--rest-port", rest_port, "--grpc-port", grpc_port)
        watching = ("--interval", 1, "--servers", f"grpc://127.0.0.1:{grpc_port}")
        named = ("--name", self.name)
        serve = ["serve", *named, "--runtime", "onnxruntime", *ports]
        if not watcher_beside:
            serve += ["--reconcile", *watching]
        url = f"http://127.0.0.1:{rest_port}/v1/models/{self.name}"
        with background(self, *serve, log=self.folder / "serve.log") as server:
            wait_until(lambda: self._answers(server, url), self.logs)
            if not watcher_beside:
                yield f"{url}:predict"
                return
            with background(self, "reconcile", "--watch", *named, *watching, log=self.folder / "reconcile.log"):
                yield f"{url}:predict"

    def _answers(self, server, url):
        assert server.poll() is None, self.logs()
        try:
            with urllib.request.urlopen(url, timeout=5) as status:
                return status.status == 200
        except urllib.error.HTTPError:
            return False

    def logs(self):
        """What the processes have said."""
        return "\n".join(f"== {path.name}\n{path.read_text()}" for path in sorted(self.folder.glob("*.log")))

    def history(self):
        """`slipway history`, a row a change: what was done, from which version to which, by whom, from where."""
        done = self.run("history", self.name, "--json")
        assert done.code == 0, done.err
        keys = ("action", "from_version", "to_version", "actor", "origin")
        return [tuple(row[key] for key in keys) for row in json_of(done)]

    def tamper(self, version):
        """Change one byte of the version's network where the server keeps it, behind everybody's back."""
        (network,) = self.server.artifacts.rglob(f"{version.model_id}/**/model.onnx")
        data = bytearray(network.read_bytes())
        data[len(data) // 2] ^= 1
        network.write_bytes(data)
        return network


def weights(seed):
    return np.roll(WEIGHTS, seed, axis=0)


def right_answer(seed, pixels):
    """What a version of that seed answers."""
    return answers(pixels, weights(seed))


def _write_mlmodel(root):
    """What MLflow's pages read a version's schema from."""
    from mlflow.models import Model

    from pipeline.package import signature

    Model(signature=signature()).save(str(root / "MLmodel"))
