"""What follows the registry, once more: beside the stack's own, on its PostgreSQL, MLflow and S3, for one model.

A bucket, a user, and a database of its own; the sync sidecar mirrors to a disk that can be filled.
"""

import contextlib
import os
import resource
import subprocess
from contextlib import ExitStack, closing
from types import SimpleNamespace

from deploy.first_use import have_bucket
from registry.register import MANIFEST_DIGEST
from serving.stores import open_store
from tests.browser.team_world import TeamWorld
from tests.pipeline.lifecycle_world import background, free_ports, wait_until

_DISK_BYTES = 16 * 2**20


class Followers(TeamWorld):
    """endpoint: how the reconciler and the sidecar reach S3."""

    def __init__(self, folder, stack, name, endpoint):
        self._stack = stack
        self.user = name
        self.full_disk_is = ""
        stack.s3.add_user(name)
        have_bucket(stack.s3.client(name), name)
        stack.s3.client(name).put_object(Bucket=name, Key="models/labels.config", Body=b"")
        self._database = name.replace("-", "_")
        self._administer(f'CREATE DATABASE "{self._database}" OWNER slipway')
        environment = {**stack.environment, **stack.s3.environment(name), "AWS_ENDPOINT_URL_S3": endpoint}
        server = SimpleNamespace(uri=stack.mlflow.url, environment=environment)
        super().__init__(folder, server, stack.postgresql.url(self._database, "slipway"), name)
        self.endpoint = endpoint
        self.remote = f"s3://{name}/models"
        self.disk = folder / "disk"
        self.processes = {}

    @contextlib.contextmanager
    def following(self):
        """The sidecar, a server of what it mirrors, and a watcher of the registry; yields where to predict."""
        grpc_port, rest_port = free_ports()
        with ExitStack() as running:
            mounted = running.enter_context(_small_disk(self.disk))
            self.full_disk_is = "a disk of 16 MB" if mounted else "a limit on the size of files"
            mirror = self.disk / "base"
            mirror.mkdir()
            sync = (f"--from={self.remote}", f"--to={mirror}", "--interval=0.5", "--port=0")
            self._run(running, "sync", "serving.sync", sync)
            wait_until((mirror / "labels.config").exists, self.logs, 60)
            flags = (f"--model_config_file={mirror}/labels.config", "--model_config_file_poll_wait_seconds=0.2")
            ports = (f"--port={grpc_port}", f"--rest_api_port={rest_port}")
            how = ("--default_label=stable", "--runtime=onnxruntime")
            self._run(running, "server", "serving.model_server", (*ports, *flags, *how))
            servers = ("--servers", f"grpc://127.0.0.1:{grpc_port}", "--interval", "1")
            base = ("--base", self.remote, "--s3-endpoint", self.endpoint)
            self._run(running, "watch", "pipeline", ("reconcile", "--watch", "--name", self.name, *servers, *base))
            yield f"http://127.0.0.1:{rest_port}/v1/models/{self.name}:predict"

    def _run(self, running, name, module, words):
        log = self.folder / f"{name}.log"
        self.processes[name] = running.enter_context(background(self, *words, module=module, log=log))

    def promote(self, version):
        """What a click in MLflow's UI does."""
        self.registry.set_alias(self.name, "champion", version)

    def logs(self):
        """What the processes said last."""
        return "\n".join(f"== {log.name}\n{log.read_text()[-3000:]}" for log in sorted(self.folder.glob("*.log")))

    def deployed(self, version):
        """What became of it: `live`, `refused`, or nothing yet."""
        return self.registry.version(self.name, version).tags.get("slipway.deploy")

    def lost(self, live, history):
        """What is not as it was, or not whole, once `live` is live: in registry, ledger, bucket, and mirror."""
        found = []
        if self.registry.aliases(self.name).get("champion") != live:
            found.append("the alias")
        if self.ledger.champions(self.name) != tuple(history):
            found.append(f"the ledger, which has {self.ledger.champions(self.name)}")
        for place in (self.remote, str(self.disk / "base")):
            store = open_store(place)
            if store.versions(self.name) != tuple(history):
                found.append(f"a version in {place}, which has {store.versions(self.name)}")
            for version in store.versions(self.name):
                store.verify(self.name, version, self.registry.version(self.name, version).tags[MANIFEST_DIGEST])
        if self._stack.s3.client(self.user).list_multipart_uploads(Bucket=self.user).get("Uploads"):
            found.append("an upload that nobody finishes")
        return found

    def suspend(self):
        """S3 refuses this world's keys; whoever calls undoes it by `enable`."""
        self._stack.s3.administer("user", "suspend", f"--uid={self.user}")

    def enable(self):
        self._stack.s3.administer("user", "enable", f"--uid={self.user}")

    @contextlib.contextmanager
    def full_disk(self):
        """Nothing more can be written where the sidecar mirrors to."""
        if os.path.ismount(self.disk):
            filler = self.disk / "filler"
            with filler.open("wb", buffering=0) as file:
                with contextlib.suppress(OSError):
                    while True:
                        file.write(bytes(2**16))
                with contextlib.suppress(OSError):
                    while True:
                        file.write(b"x")
            try:
                yield
            finally:
                filler.unlink()
            return
        pid = self.processes["sync"].pid
        before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (64, before[1]))
        try:
            yield
        finally:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, before)

    def leave(self):
        """Take away what was made of it on the stack."""
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        with contextlib.suppress(MlflowException):
            MlflowClient(self.uri).delete_registered_model(self.name)
        self._administer(f'DROP DATABASE "{self._database}" WITH (FORCE)')
        client = self._stack.s3.client(self.user)
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=self.user):
            for each in page.get("Contents", ()):
                client.delete_object(Bucket=self.user, Key=each["Key"])
        client.delete_bucket(Bucket=self.user)
        self._stack.s3.administer("user", "rm", f"--uid={self.user}")

    def _administer(self, statement):
        with closing(self._stack.postgresql._connect()) as connection:
            connection.execute(statement)


@contextlib.contextmanager
def _small_disk(place):
    """A file system of a few megabytes, where we may mount one; yields whether we could."""
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={_DISK_BYTES},mode=700", "slipway-test", str(place)]
    mounted = os.geteuid() == 0 and subprocess.run(mount, capture_output=True, check=False).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(place)], check=True)
