"""What a Pod runs, run: the containers' own commands, as processes of this machine, asked what the probes ask."""

import subprocess
import sys
from contextlib import ExitStack, contextmanager

import pytest
import requests

from deploy.doors import have_tokens
from serving.kubernetes.kserve import serving_runtime
from serving.kubernetes.pods import model_config
from serving.kubernetes.spec import ClusterSettings, ServedVersion
from serving.stores import Bundle, open_store
from tests.manifests.rendered import overlay
from tests.pipeline.lifecycle_world import wait_until
from tests.serving.kubernetes.test_manifests import part, pod
from tests.serving.model_server.processes import free_ports
from tests.serving.model_server.servables import publish_servable, seal_servable

pytestmark = pytest.mark.integration
NAME, VERSION = "My_Pets", 3


@pytest.fixture
def published(s3_server, tmp_path):
    """The version in S3, and one whose number begins alike."""
    base = s3_server.bucket_for(tmp_path)
    for version in (VERSION, 30):
        bundle = tmp_path / f"bundle-{version}"
        digest = seal_servable(bundle, {"onnx-fp32": 90.0})
        open_store(base).publish(NAME, version, Bundle(digest, lambda _into, bundle=bundle: bundle))
    return ServedVersion(NAME, VERSION, digest, base, s3_server.endpoint, ClusterSettings())


class Place:
    """A folder in the place of a Pod's volumes, and free ports in the place of its own."""

    def __init__(self, folder):
        self.folder = folder
        self.rest, self.grpc, self.sync = free_ports(3)
        ports = {"8501": self.rest, "8500": self.grpc, "8600": self.sync, "8080": self.rest, "9000": self.grpc}
        self.ports = {f"port={before}": f"port={after}" for before, after in ports.items()}
        self.paths = {}
        for mount in ("/tmp", "/models", "/config", "/access-tokens"):  # the folder is below /tmp itself
            (folder / mount.lstrip("/")).mkdir(parents=True)
            self.paths[f"={mount}"] = f"={folder}{mount}"

    def words(self, container):
        words = [*container["command"], *container["args"]]
        if words[0] == "python":
            words[0] = sys.executable
        return [self.here(word) for word in words]

    def here(self, text):
        for before, after in {**self.ports, **self.paths}.items():
            text = text.replace(before, after)
        return text.replace("host=0.0.0.0", "host=127.0.0.1")

    @contextmanager
    def running(self, words):
        log = self.folder / "log"
        with log.open("ab") as to:
            process = subprocess.Popen(words, stderr=to, stdout=to)
        try:
            yield process, log
        finally:
            process.kill()
            process.wait()

    def probe(self, container, name):
        asked = container[name]["httpGet"]
        port = {"rest": self.rest, "sync": self.sync, 8080: self.rest}[asked["port"]]
        try:
            return requests.get(f"http://127.0.0.1:{port}{asked['path']}", timeout=5).status_code
        except requests.RequestException:
            return None


def passes(place, container, process, log):
    """Wait until the container's start and readiness probes pass, and then its liveness probe does."""
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        if name in container:
            wait_until(
                lambda name=name: place.probe(container, name) == 200 or process.poll() is not None, log.read_text
            )
            assert process.poll() is None, log.read_text()


@pytest.mark.parametrize("which", ["of a version", "of an overlay"])
def test_the_containers_of_a_pod_serve_what_is_in_s3(which, published, tmp_path):
    place = Place(tmp_path / "pod")
    have_tokens(tmp_path, tmp_path / "pod" / "access-tokens" / "tokens")
    if which == "of a version":
        spec, config = pod(published), model_config(published)["data"]
    else:
        objects = overlay("embedded")
        spec = part(objects, "Deployment")["spec"]["template"]["spec"]
        config = part(objects, "ConfigMap", "model-server")["data"]
        open_store(published.base).update_file("labels.config", lambda _: LABELS.format(base=published.base).encode())
        place.paths["$(SLIPWAY_BASE)"] = published.base
    for file, text in config.items():
        (tmp_path / "pod" / "config" / file).write_text(text.replace('"/models', f'"{tmp_path}/pod/models'))
    (sync,), (server,) = spec["initContainers"], spec["containers"]
    with ExitStack() as stack:
        passes(place, sync, *stack.enter_context(place.running(place.words(sync))))
        passes(place, server, *stack.enter_context(place.running(place.words(server))))
        address = f"http://127.0.0.1:{place.rest}"
        assert requests.get(f"{address}/v1/models", timeout=5).status_code == 401
        token = {"Authorization": f"Bearer {(tmp_path / 'token-slipway').read_text()}"}
        (version,) = requests.get(f"{address}/v1/models/{NAME}", headers=token, timeout=5).json()[
            "model_version_status"
        ]
        assert (version["version"], version["state"]) == (str(VERSION), "AVAILABLE")
        assert requests.get(f"{address}/v1/models/{NAME}/labels/stable", headers=token, timeout=5).status_code == 200
        assert requests.get(f"{address}/metrics", timeout=5).status_code == 401


LABELS = """model_config_list {{ config {{
  name: "My_Pets" base_path: "{base}/My_Pets" model_platform: "tensorflow"
  model_version_policy {{ specific {{ versions: 3 }} }} version_labels {{ key: "stable" value: 3 }}
}} }}"""


def test_kserves_container_serves_the_directory_that_was_fetched_by_the_versions_number(tmp_path, monkeypatch):
    place = Place(tmp_path / "pod")
    fetched = publish_servable(tmp_path / "published" / NAME, VERSION, {"onnx-fp32": 90.0})
    have_tokens(tmp_path, tmp_path / "pod" / "access-tokens" / "tokens")
    runtime = serving_runtime(ServedVersion(NAME, VERSION, "ab" * 32, "s3://b/p"))
    (container,) = runtime["spec"]["containers"]
    shell, option, script = [*container["command"], *container["args"]]
    script = place.here(script.replace("python -m", f"{sys.executable} -m").replace('"/tmp', '"=/tmp'))
    script = script.replace('"=', '"').replace("/mnt/models", str(fetched))
    monkeypatch.setenv("SLIPWAY_MODEL", NAME)
    monkeypatch.setenv("SLIPWAY_VERSION", str(VERSION))
    with place.running([shell, option, script]) as (process, log):
        passes(place, container, process, log)
        token = {"Authorization": f"Bearer {(tmp_path / 'token-slipway').read_text()}"}
        answer = requests.get(f"http://127.0.0.1:{place.rest}/v1/models/{NAME}", headers=token, timeout=5).json()
        assert [each["version"] for each in answer["model_version_status"]] == [str(VERSION)]
