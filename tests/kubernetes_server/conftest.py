import pytest

from serving.cluster.api import open_api
from serving.cluster.cluster import Cluster
from serving.cluster.stamps import Owner
from tests.kubernetes_server.scene import BASE, MODEL
from tests.kubernetes_server.server import NAMESPACE, KubernetesServer


@pytest.fixture
def server():
    with KubernetesServer().running() as server:
        yield server


@pytest.fixture
def pauses():
    """The seconds that the client has waited, without waiting."""
    return []


@pytest.fixture
def api(server, tmp_path, monkeypatch, pauses):
    monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig(tmp_path)))
    api = open_api()
    api._pause = pauses.append
    yield api
    api.close()


@pytest.fixture
def cluster(api):
    return Cluster(api, NAMESPACE)


@pytest.fixture
def owner():
    return Owner(MODEL, BASE)
