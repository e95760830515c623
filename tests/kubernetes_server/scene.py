"""A model's versions as a cluster is told them, and the target kubernetes without a registry."""

from contextlib import contextmanager
from dataclasses import dataclass, field

from pipeline.config import load_config
from pipeline.reconcile.cluster_serving import ClusterServing
from pipeline.reconcile.serving import Waiting
from registry.client import ModelVersion
from registry.register import MANIFEST_DIGEST
from serving.kubernetes.spec import ServedVersion
from serving.servable.golden import GoldenReport
from slipway.errors import IntegrityError

MODEL, BASE = "digits", "s3://bucket/models"


def served(version, **settings):
    return ServedVersion(MODEL, version, f"{version:064x}", BASE, **settings)


def model_version(number):
    tags = {MANIFEST_DIGEST: f"{number:064x}"}
    return ModelVersion(MODEL, number, "a-run", "models:/m-1", "None", (), tags, 0, "", "m-1")


class Versions:
    """A registry that knows every version."""

    def version(self, _name, number):
        return model_version(number)


@dataclass
class Route:
    """Versions in `wrong` answer their golden requests otherwise; `asked` has all that were asked."""

    wrong: set = field(default_factory=set)
    asked: list = field(default_factory=list)
    ask_first: object = None  # called before each answer

    def ask(self, _api, _served, version, _store):
        if self.ask_first:
            self.ask_first()
        self.asked.append(version.version)
        if version.version in self.wrong:
            raise IntegrityError(f"version {version.version} answers otherwise")
        return GoldenReport(64, 0.0, 0, 1e-4)


def serving(cluster, route=None, **settings):
    config = load_config(None, {"name": MODEL, "base": BASE, "reconcile.load_timeout_s": 20, **settings})
    return ClusterServing(cluster, config, Versions(), route or Route())


def waiting(timeout_s=20.0):
    return Waiting(timeout_s, lambda: None)


@contextmanager
def unchanged(server):
    """Nothing is written within the block."""
    before = list(server.writes)
    yield
    assert server.writes == before
