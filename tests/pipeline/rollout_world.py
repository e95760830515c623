"""Candidates whose faults are in their content, a real server, and clients that know what is right.

A picture says what it shows, and how hard it is: its first pixel's red is the class, the other two numbers a position
from 0 to 1 of how hard it is to classify, and two numbers of the second pixel a position of whether it makes a network
fail that fails on some. So of random pictures a network has any accuracy, and fails on any share, by its content alone.
"""

import json
import threading
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from registry.evaluation import save_evaluation
from registry.register import PARITY
from serving.client.address import parse_address
from serving.client.http import Http
from serving.client.observations import TrueLabel, read_observations, send_feedback
from serving.servable.golden import GoldenRequests, save_answers, save_golden
from serving.servable.layout import variant_path
from serving.servable.manifest import VariantRecord, seal
from slipway.errors import SlipwayError
from tests.pipeline.lifecycle_world import background, free_ports, wait_until
from tests.pipeline.registered_world import TRUTH, RegisteredWorld
from tests.registry.conftest import make_evaluation
from tests.serving.model_server.plain_models import save_onnx
from tests.serving.model_server.servables import COUNT, LABELS, SIZE, _measured, _write_saved_model, png

NAME = "digits"
CLASSES = len(LABELS)
_WIDTH = 128  # of the matrices that a network spends its time on


@dataclass(frozen=True)
class Network:
    """What a network does with random pictures. work: how long it takes, in multiplications of a matrix."""

    accuracy: float = 0.95
    errors: float = 0.0
    work: int = 40


STABLE = Network()
KINDS = {
    "equal": Network(),
    "3 points less accurate": Network(accuracy=0.92),
    "50 % slower": Network(work=60),
    "errors on 2 %": Network(errors=0.02),
}


def pictures(count, draw, *, harmless=False):
    """uint8 [count, 6, 4, 3] and the class of each; `harmless` ones make no network fail."""
    pixels = draw.integers(0, 256, (count, *SIZE, 3), np.uint8)
    classes = draw.integers(0, CLASSES, count)
    pixels[:, 0, 0, 0] = classes
    if harmless:
        pixels[:, 0, 1, :2] = 0
    return pixels, classes


def answers(network, pixels):
    """The network, in numpy: float32 [N, 3]."""
    numbers = pixels.reshape(len(pixels), -1).astype(np.float32)
    wrong = (numbers[:, 1] * 256 + numbers[:, 2]) / 65536 >= np.float32(network.accuracy)
    predicted = (numbers[:, 0].astype(int) + wrong) % CLASSES
    return np.where(np.eye(CLASSES)[predicted] > 0, 0.9, 0.05).astype(np.float32)


def write_onnx(network, path):
    """The network as a graph; it fails by reading beyond the end of a table of one."""
    constants = {
        "side": [256.0],
        "all": [65536.0],
        "accuracy": [network.accuracy],
        "fails": [1.0 - network.errors],
        "three": [float(CLASSES)],
        "kept": [0.0],
        "table": [1.0],
    }
    weights = np.random.default_rng(1).normal(0, _WIDTH**-0.5, (_WIDTH, _WIDTH))
    initializers = [numpy_helper.from_array(np.array(each, np.float32), name) for name, each in constants.items()]
    initializers += [
        numpy_helper.from_array(weights.astype(np.float32), "weights"),
        numpy_helper.from_array(np.array([0], np.int64), "inside"),
        numpy_helper.from_array(np.array([9], np.int64), "outside"),
        numpy_helper.from_array(np.array(CLASSES, np.int64), "depth"),
        numpy_helper.from_array(np.array([0.05, 0.9], np.float32), "values"),
        *(numpy_helper.from_array(np.array([column], np.int64), f"column{column}") for column in range(5)),
    ]
    nodes = [
        helper.make_node("Flatten", ["input"], ["flat"]),
        *(helper.make_node("Gather", ["flat", f"column{n}"], [f"number{n}"], axis=1) for n in range(5)),
        *_position("number1", "number2", "hardness"),
        helper.make_node("GreaterOrEqual", ["hardness", "accuracy"], ["is_wrong"]),
        helper.make_node("Cast", ["is_wrong"], ["wrong"], to=TensorProto.FLOAT),
        *_position("number3", "number4", "danger"),
        helper.make_node("GreaterOrEqual", ["danger", "fails"], ["failing"]),
        helper.make_node("Where", ["failing", "outside", "inside"], ["place"]),
        helper.make_node("Gather", ["table", "place"], ["one"]),
        # Work whose result is as small as nothing, and is waited for all the same.
        helper.make_node("Add", ["weights", "hardness_mean"], ["product0"]),
        *(helper.make_node("MatMul", [f"product{n}", "weights"], [f"product{n + 1}"]) for n in range(network.work)),
        helper.make_node("ReduceMean", [f"product{network.work}"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "kept"], ["nothing"]),
        helper.make_node("Add", ["number0", "wrong"], ["shifted"]),
        helper.make_node("Mul", ["shifted", "one"], ["unfailing"]),
        helper.make_node("Add", ["unfailing", "nothing"], ["worked"]),
        helper.make_node("Mod", ["worked", "three"], ["class"], fmod=1),
        helper.make_node("Cast", ["class"], ["class_id"], to=TensorProto.INT64),
        helper.make_node("OneHot", ["class_id", "depth", "values"], ["one_hot"], axis=-1),
        helper.make_node("Squeeze", ["one_hot", "column1"], ["output"]),
    ]
    nodes.insert(8, helper.make_node("ReduceMean", ["hardness"], ["hardness_mean"], keepdims=0))
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", *SIZE, 3])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["n", CLASSES])],
        initializers,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    save_onnx(graph, path)


def _position(high, low, name):
    return [
        helper.make_node("Mul", [high, "side"], [f"{name}_high"]),
        helper.make_node("Add", [f"{name}_high", low], [f"{name}_sum"]),
        helper.make_node("Div", [f"{name}_sum", "all"], [name]),
    ]


class RolloutWorld(RegisteredWorld):
    """A registry with a champion and candidates of any behaviour, and a server of them."""

    def seal(self, directory, run_id, network=STABLE):
        pixels, _ = pictures(COUNT, np.random.default_rng(0), harmless=True)
        expected = answers(network, pixels)
        golden = GoldenRequests(pixels, expected, tuple(png(image) for image in pixels), expected)
        save_golden(golden, directory / "golden")
        (directory / "labels.json").write_text(json.dumps(LABELS))
        _write_saved_model(directory / "saved_model")
        variant = directory / variant_path("onnx-fp32")
        write_onnx(network, variant / "model.onnx")
        save_answers(golden, variant)
        records = {name: VariantRecord(1e-4, 0.0, _measured(1.0)) for name in ("tensorflow-fp32", "onnx-fp32")}
        return seal(
            directory,
            run_id=run_id,
            git_commit="c",
            dataset_digest="d",
            image_size=SIZE,
            classes=CLASSES,
            variants=records,
            signatures={},
            max_pixels=1000,
        )

    def candidate(self, network):
        """A version of that behaviour, which the gate lets pass: its faults were not among the held-out images."""
        version = self.version(NAME, network=network)
        predicted = [truth if place < 27 else (truth + 1) % 3 for place, truth in enumerate(TRUTH)]
        evaluation = make_evaluation(TRUTH, predicted, labels=LABELS, run_id=version.run_id)
        save_evaluation(self.registry, evaluation)
        self.registry.set_tags(NAME, version.version, {PARITY: "0.0"})
        return version

    def policy(self, ports, **rollout):
        """A configuration file for a server on `ports` (REST, gRPC)."""
        rest, grpc = ports
        file = self.folder / "rollout.json"  # JSON is YAML
        file.write_text(
            json.dumps(
                {
                    "name": NAME,
                    "reconcile": {"servers": f"grpc://127.0.0.1:{grpc}"},
                    "rollout": {"rest_servers": f"http://127.0.0.1:{rest}", **rollout},
                }
            )
        )
        return file

    @contextmanager
    def serving(self):
        """A real server of the champion, until the block ends; gives its ports (REST, gRPC)."""
        rest, grpc = ports = free_ports()
        words = ("serve", "--name", NAME, "--runtime", "onnxruntime", "--rest-port", rest, "--grpc-port", grpc)
        log = self.folder / "server.log"
        with background(self, *words, log=log):
            wait_until(lambda: self.serves(rest), lambda: log.read_text(errors="replace")[-4000:])
            yield ports

    @staticmethod
    def serves(rest):
        try:
            return read_observations(f"http://127.0.0.1:{rest}", NAME).of("stable")
        except SlipwayError:
            return None


class Clients:
    """People who send random pictures, and tell a second later what these show."""

    def __init__(self, rest, count, seed):
        self._address = f"http://127.0.0.1:{rest}"
        self._stop = threading.Event()
        self._told = []
        self._lock = threading.Lock()
        self.versions = Counter()  # of the answers, by version and HTTP status
        self.troubles = []
        work = [(self._ask, np.random.default_rng([seed, number])) for number in range(count)]
        self._threads = [threading.Thread(target=target, args=(draw,), daemon=True) for target, draw in work]
        self._threads.append(threading.Thread(target=self._tell, daemon=True))

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exception):
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def stay_with(self, version, requests=50, timeout_s=20):
        """Whether from some moment within the time on, that many answers are of one version alone."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            before = self._snapshot()
            while sum((came := self._snapshot() - before).values()) < requests and time.monotonic() < deadline:
                time.sleep(0.05)
            if {each for each, _ in came} == {str(version)}:
                return True
        return False

    def _snapshot(self):
        with self._lock:
            return Counter(self.versions)

    def _ask(self, draw):
        with Http(parse_address(self._address), 30) as http:
            while not self._stop.is_set():
                pixels, classes = pictures(1, draw)
                try:
                    response = http.post(f"/v1/models/{NAME}:predict", {"instances": pixels.tolist()})
                except SlipwayError as error:
                    self.troubles.append(str(error))
                    return
                version = response.headers.get("x-slipway-version", "none")
                with self._lock:
                    self.versions[version, response.status] += 1
                    if response.status == 200:
                        request_id = response.headers["x-slipway-request-id"]
                        self._told.append(TrueLabel(request_id, (int(classes[0]),)))

    def _tell(self):
        while not self._stop.wait(1.0):
            with self._lock:
                told, self._told = self._told, []
            try:
                send_feedback(self._address, told)
            except SlipwayError as error:
                self.troubles.append(str(error))
