"""Canary, shadow and feedback on a server process as `slipway serve` starts it: under load, through a restart."""

import http.client
import json
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest

from serving.client.observations import TrueLabel, read_observations, send_feedback
from serving.request_ids import parse_request_id
from serving.stores.local import LocalStore
from serving.targets import ServeSpec, open_target
from serving.traffic import TRAFFIC_FILE, Traffic, position_of, traffic_config
from serving.wire.predict_pb2 import PredictRequest
from serving.wire.tensors import to_proto
from slipway.files import sha256_file, write_atomically
from tests.serving.model_server.fakes import eventually
from tests.serving.model_server.processes import ServerProcess, free_ports
from tests.serving.model_server.servables import LABELS, SIZE, WEIGHTS, publish_servable

pytestmark = pytest.mark.integration
CLIENTS = 4


class Served:
    """A base path with versions 1 to 3 of a servable, and a process that serves it."""

    def __init__(self, folder):
        self.base = folder / "base"
        self.log = folder / "log"
        self.store = LocalStore(str(self.base))
        self.digests = {}
        for number in (1, 2, 3):
            version = publish_servable(self.base / "images", number, {"openvino-fp32": 30.0})
            self.digests[number] = sha256_file(version / "assets.extra/slipway/manifest.json")
        self.label(stable=1, canary=2)
        self.pixels = np.random.default_rng(1).integers(0, 256, (1, *SIZE, 3)).astype(np.float32)
        self.process = None

    def label(self, **labels):
        listed = " ".join(f"versions: {version}" for version in sorted(set(labels.values())))
        borne = " ".join(f'version_labels {{ key: "{label}" value: {number} }}' for label, number in labels.items())
        text = f"""model_config_list {{ config {{ name: "images" base_path: "{self.base / "images"}"
          model_platform: "tensorflow" model_version_policy {{ specific {{ {listed} }} }} {borne} }} }}"""
        write_atomically(self.base / "labels.config", text.encode())

    def split(self, **how):
        traffic = Traffic(100 - how.get("canary", 0), **how)
        self.store.update_file(TRAFFIC_FILE, lambda present: traffic_config(present, "images", traffic))

    def start(self):
        rest, port = free_ports(2)
        spec = ServeSpec("images", self.base, rest, port, extra_args=("--runtime=openvino",))
        flags = open_target("embedded").command(spec).argv[3:]
        self.process = ServerProcess(self.log, *flags)
        self.process.rest_port, self.process.port = rest, port
        self.rest, self.grpc = rest, f"127.0.0.1:{port}"
        self.address = f"http://127.0.0.1:{rest}"
        self.process.wait_ready()
        self.process.wait_for(lambda: len(read_observations(self.address, "images").versions) == 2)

    def stop(self):
        self.process.stop()

    def client(self):
        return Client(self)

    def seen(self, label):
        return read_observations(self.address, "images").of(label)


class Client:
    """A kept connection."""

    def __init__(self, served):
        self._connection = http.client.HTTPConnection("127.0.0.1", served.rest, timeout=30)
        self._body = json.dumps({"instances": served.pixels.tolist()})
        self._digests = served.digests

    def ask(self, **headers):
        """The id of an answer, which every header of it must agree with."""
        self._connection.request("POST", "/v1/models/images:predict", self._body, headers)
        response = self._connection.getresponse()
        body = response.read()
        assert response.status == 200, body
        found = parse_request_id(response.headers["x-slipway-request-id"])
        assert response.headers["x-slipway-version"] == str(found.version)
        assert response.headers["x-slipway-digest"] == self._digests[found.version]
        assert found.digest_prefix == self._digests[found.version][:12]
        return response.headers["x-slipway-request-id"]


def version(request_id):
    return parse_request_id(request_id).version


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    served = Served(tmp_path_factory.mktemp("served"))
    served.start()
    yield served
    served.stop()


def by_clients(served, count):
    """The ids of so many answers to several clients at once."""

    def ask(_number):
        client = served.client()
        return [client.ask() for _ in range(count // CLIENTS)]

    with ThreadPoolExecutor(CLIENTS) as threads:
        return [one for some in threads.map(ask, range(CLIENTS)) for one in some]


def await_share(served, text):
    eventually(lambda: text in served.log.read_text())


def test_the_share_is_kept_and_every_answer_is_counted_where_it_was_given(served):
    before = served.seen("stable").requests, served.seen("canary").requests
    served.split(canary=20)
    await_share(served, "20 % goes to the canary")
    found = Counter(map(version, by_clients(served, 2000)))
    assert abs(found[2] - 400) < 4.5 * (2000 * 0.2 * 0.8) ** 0.5
    after = served.seen("stable").requests, served.seen("canary").requests
    assert (after[0] - before[0], after[1] - before[1]) == (found[1], found[2])


def test_a_client_by_its_header_stays_through_growth_and_a_restart(served):
    keys = [f"client-{number}" for number in range(30)]
    earlier = {}
    for share in (10, 40):
        served.split(canary=share, key_header="x-client-id")
        await_share(served, f"{share} % goes to the canary")
        for _ in range(2):
            client = served.client()
            found = {key: version(client.ask(**{"X-Client-Id": key})) for key in keys}
            assert found == {key: 2 if position_of("images", key) < share else 1 for key in keys}
            if share == 40:
                served.stop()
                served.start()
        assert all(found[key] == 2 for key, earlier_version in earlier.items() if earlier_version == 2)
        earlier = found


def test_over_grpc_too_and_feedback_finds_the_answer(served):
    served.split(canary=100)
    await_share(served, "100 % goes to the canary")
    request = PredictRequest()
    request.model_spec.name = "images"
    request.inputs["input"].CopyFrom(to_proto(served.pixels))
    before = served.seen("canary")
    with grpc.insecure_channel(served.grpc) as channel:
        stub = channel.unary_unary(
            "/tensorflow.serving.PredictionService/Predict", PredictRequest.SerializeToString, bytes
        )
        calls = [stub.with_call(request)[1] for _ in range(10)]
    ids = [dict(call.trailing_metadata())["x-slipway-request-id"] for call in calls]
    right = LABELS[int((served.pixels.reshape(1, -1) @ WEIGHTS).argmax())]
    assert send_feedback(served.address, [TrueLabel(one, (right,)) for one in ids]).attached == 10
    after = served.seen("canary")
    assert (after.requests - before.requests, after.labelled - before.labelled, after.correct - before.correct) == (
        10,
        10,
        10,
    )
    assert after.confidence.count - before.confidence.count == 10


def test_copies_are_run_beside_a_light_load(served):
    served.split(shadow=100)
    await_share(served, "100 % of the rest is copied")
    client, before = served.client(), served.seen("canary").shadow.requests

    def compared():
        client.ask()
        time.sleep(0.01)
        return served.seen("canary").shadow.requests >= before + 20

    eventually(compared, 30)
    shadow = served.seen("canary").shadow
    assert (shadow.errors, shadow.disagreed) == (0, 0)
    assert shadow.compared == shadow.requests


def test_the_canary_is_swapped_and_the_share_changed_under_load_without_a_failed_request(served):
    stop, answered = threading.Event(), Counter()

    def load():
        client = served.client()
        while not stop.is_set():
            answered[version(client.ask())] += 1

    served.split(canary=50)
    await_share(served, "50 % goes to the canary")
    with ThreadPoolExecutor(CLIENTS) as threads:
        clients = [threads.submit(load) for _ in range(CLIENTS)]
        try:
            for canary, share in ((3, 50), (2, 10), (3, 90)):
                before = answered[canary]
                served.label(stable=1, canary=canary)
                served.split(canary=share, shadow=100)
                eventually(lambda canary=canary, before=before: answered[canary] > before + 50, 30)
            served.label(stable=1)
            eventually(lambda: served.seen("canary") is None, 30)
            before = answered.copy()
            eventually(lambda: answered[1] > before[1] + 200, 30)
            assert answered[3] - before[3] <= CLIENTS  # those that were on their way
        finally:
            stop.set()
        assert [client.result() for client in clients] == [None] * CLIENTS
    assert set(answered) == {1, 2, 3}
    served.label(stable=1, canary=2)
