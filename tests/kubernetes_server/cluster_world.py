"""Versions in a registry, published to S3, served by a cluster whose API is spoken over HTTP.

One model server without TensorFlow stands for all Pods: it has every version, as the cluster's nodes would fetch them.
"""

import shutil
from contextlib import contextmanager

from mlflow import set_tracking_uri

from pipeline.config import load_config
from pipeline.reconcile.cluster_world import cluster_door, cluster_world
from pipeline.reconcile.world import open_world
from registry.register import MANIFEST_DIGEST
from serving.model_config import LABELS_CONFIG, Wanted, labels_config
from serving.stores import Bundle, open_store
from tests.pipeline.lifecycle_world import background, free_ports, wait_until
from tests.pipeline.reconcile_world import NAME, OTHER, ReconcileWorld

BASE = "s3://slipway-cluster/models"
WRONG = 4
_WEIGHTS = {1: None, 2: OTHER, 3: -OTHER, WRONG: OTHER * 3}


class ClusterWorld(ReconcileWorld):
    """Versions 1, 2 and 3 are good; the Pods of version 4 have other bytes than were registered."""

    def make_versions(self):
        for weights in _WEIGHTS.values():
            self.version(NAME, **({} if weights is None else {"weights": weights}))

    def config(self, **settings):
        keys = {f"reconcile.{key}": value for key, value in {"load_timeout_s": 30, **settings}.items()}
        where = {"name": NAME, "base": BASE, "workdir": str(self.folder / "work"), "reconcile.servers": "none"}
        return load_config(None, where | keys)

    @contextmanager
    def scene(self, **settings):
        set_tracking_uri(self.uri)
        config = self.config(**settings)
        with cluster_door(config, None, None) as door, open_world(config) as world:
            yield cluster_world(world, door)

    def words(self, base=BASE, servers="none"):
        """Options that have a command meet this world."""
        return ("--name", NAME, "--base", base, "--servers", servers)

    @contextmanager
    def pods(self):
        """The model server; yields where its REST API is."""
        local = open_store(str(self.folder / "nodes"))
        for number in _WEIGHTS:
            version = self.registry.version(NAME, 3 if number == WRONG else number)
            source = self.servable(version.version, NAME)
            digest = version.tags[MANIFEST_DIGEST]
            local.publish(NAME, number, Bundle(digest, lambda into, of=source: shutil.copytree(of, into / "servable")))
        self.base = self.folder / "nodes"
        file = self.base / LABELS_CONFIG
        everything = Wanted(champion=1, previous=2, candidate=3, challenger=WRONG)
        file.write_bytes(labels_config(None, NAME, str(self.base / NAME), everything))
        rest, grpc = free_ports()
        log = self.folder / "pods.log"
        flags = (*self.server_flags(), f"--rest_api_port={rest}", f"--port={grpc}")
        with background(self, *flags, module="serving.model_server", log=log):
            from serving.client.server_status import ServerStatus

            status = ServerStatus(f"grpc://127.0.0.1:{grpc}", 2)

            def loaded():
                try:
                    return sum(each.is_available for each in status.versions(NAME).values()) == len(_WEIGHTS)
                except Exception:  # noqa: BLE001 - it is starting
                    return False

            wait_until(loaded, log.read_text, timeout_s=60)
            status.close()
            self.grpc = f"grpc://127.0.0.1:{grpc}"
            yield "127.0.0.1", rest
