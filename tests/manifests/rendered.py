"""Every manifest of the project: the files, what kustomize builds from each overlay, and what export renders."""

import copy
import subprocess
from functools import cache
from pathlib import Path

import yaml

from pipeline.in_cluster import TARGETS, manifests, stream
from serving.kubernetes.spec import ENGINES, ClusterSettings, ServedVersion

KUBERNETES = Path(__file__).parents[2] / "deploy" / "kubernetes"
OVERLAYS = sorted(path.name for path in (KUBERNETES / "overlays").iterdir())
FILES = sorted(path for path in KUBERNETES.rglob("*.yaml"))
DIGEST = "0123456789abcdef" * 4


def served(name="resnet50", version=3, s3_endpoint=None, **settings):
    return ServedVersion(name, version, DIGEST, "s3://models/serving", s3_endpoint, ClusterSettings(**settings))


def exports():
    """What `export --target` writes, by a name of the case: both targets and engines, with and without each option."""
    cases = {}
    for engine in ENGINES:
        plain = served(server_engine=engine)
        full = served(
            "Pets_Of_All-v2",
            version=2**63 - 1,
            s3_endpoint="http://s3.storage.svc:8333",
            server_engine=engine,
            server_image="registry.example.com:5000/slipway-serving@sha256:" + DIGEST,
            namespace="pets",
            replicas=1,
            max_replicas=1,
            tokens_secret="",
        )
        for target in TARGETS:
            cases[f"{target}-{engine}"] = manifests(plain, target)
            cases[f"{target}-{engine}-full"] = manifests(full, target)
        cases[f"kserve-{engine}-canary"] = manifests(plain, "kserve", canary_percent=10)
        signed = served(server_engine=engine, trusted_keys_map="keys")
        cases[f"kubernetes-{engine}-signed"] = manifests(signed, "kubernetes")
    return cases


def documents(text):
    """The documents of a YAML stream that are objects of a cluster."""
    return [each for each in yaml.safe_load_all(text) if isinstance(each, dict) and "kind" in each]


def of_export(files):
    return documents(stream(files))


def built(folder):
    """What `kubectl kustomize` makes of a folder."""
    command = ["kubectl", "kustomize", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return documents(done.stdout)


@cache
def _overlay(name):
    return built(KUBERNETES / "overlays" / name)


def overlay(name):
    return copy.deepcopy(_overlay(name))
