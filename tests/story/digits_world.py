"""Digits as four data sets that share no image, a configuration, a server with its log, and the people who ask it."""

import base64
import csv
import io
import json
import threading
from contextlib import contextmanager

import numpy as np
from PIL import Image, ImageFilter
from sklearn.datasets import load_digits

from serving.client.address import parse_address
from serving.client.http import Http
from serving.client.observations import TrueLabel, send_feedback
from slipway.errors import UnavailableError
from tests.pipeline.lifecycle_world import NETWORK, World, background, free_ports, wait_until

NAME = "digits"
TRAINING, VALIDATION, TEST, REGRESSION, QUIET = 700, 100, 250, 120, 330  # what is left is what comes disturbed
WINDOW = 100


def disturbed(image):
    """The same digit, turned and out of focus."""
    return image.rotate(35, resample=Image.Resampling.BILINEAR).filter(ImageFilter.GaussianBlur(1.5))


class DigitsWorld(World):
    """`pictures`: by what they are for, lists of (image, digit). Others that are made of them lie in `images/`."""

    def __init__(self, folder):
        super().__init__(folder)
        digits = load_digits()
        order = np.random.default_rng(7).permutation(len(digits.images))
        everything = [
            (Image.fromarray(np.uint8(digits.images[n] * 255 / 16)).resize((32, 32)).convert("RGB"), digits.target[n])
            for n in order
        ]
        self.pictures, begin = {}, 0
        for what, count in (
            ("train", TRAINING),
            ("validation", VALIDATION),
            ("test", TEST),
            ("regression", REGRESSION),
            ("quiet", QUIET),
            ("new", len(everything)),
        ):
            self.pictures[what] = everything[begin : begin + count]
            begin += count
        self.rest, self.grpc, self.metrics = free_ports(3)
        self._written = {}

    def data_set(self, name, splits):
        """A CSV file of images: of each split, (image, digit) in its order."""
        rows = [("path", "label", "split")]
        for split, pictures in splits.items():
            for image, digit in pictures:
                rows.append((self._file(image), digit, split))
        file = self.folder / f"{name}.csv"
        with file.open("w", newline="") as stream:
            csv.writer(stream).writerows(rows if set(splits) != {"all"} else [row[:2] for row in rows])
        return file.name

    def _file(self, image):
        data = png(image)
        if data not in self._written:
            self._written[data] = f"images/{len(self._written)}.png"
            file = self.folder / self._written[data]
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(data)
        return self._written[data]

    def configured(self):
        """`story.yaml`, which every command takes. A champion of these data, and windows that CI has time for."""
        known = {split: self.pictures[split] for split in ("train", "validation", "test")}
        words = dict(zip(NETWORK[::2], NETWORK[1::2], strict=True))
        regression = self.data_set("must-be-right", {"all": self.pictures["regression"]})
        document = {
            "name": NAME,
            "prediction_log": "predictions",
            "data": {"source": self.data_set("first", known)},
            "train": {
                **{flag.removeprefix("--").replace("-", "_"): _value(word) for flag, word in words.items()},
                "epochs": 8,
                "batch_size": 32,
                "learning_rate": 0.002,
            },
            "gate": {"minimum_accuracy": 0.6},
            "drift": {"window": WINDOW, "windows": 3, "found_windows": 2, "least_samples": WINDOW // 2},
            "retrain": {"regression_set": regression},
            "reconcile": {"interval_s": 1, "servers": f"grpc://127.0.0.1:{self.grpc}"},
            "rollout": {
                "rest_servers": f"http://127.0.0.1:{self.rest}",
                "look_interval_s": 1,
                "steps": "50,100",
                "least_requests": 200,
                # Two processors for clients, server and all else: here latency says nothing of the candidate.
                "measures": "errors,accuracy",
            },
        }
        (self.folder / "story.yaml").write_text(json.dumps(document))  # JSON is YAML
        return document

    def slipway(self, command, *words, code=0, timeout_s=600):
        """`slipway COMMAND` under the story's configuration."""
        done = self.run(command, "--config", "story.yaml", *words, timeout_s=timeout_s)
        assert done.code == code, f"{command}: exit code {done.code}\n{done.out}\n{done.err}"
        return done

    @contextmanager
    def serving(self):
        """The champion, live, with the log; and the page of the life cycle's metrics."""
        log = self.folder / "server.log"
        ports = ("--rest-port", self.rest, "--grpc-port", self.grpc)
        with background(self, "serve", "--config", "story.yaml", *ports, log=log):
            wait_until(self._is_ready, lambda: log.read_text()[-3000:], 120)
            watch = ("reconcile", "--config", "story.yaml", "--watch", "--metrics-port", self.metrics)
            with background(self, *watch, log=self.folder / "reconcile.log"):
                yield

    def _is_ready(self):
        try:
            with self._http() as http:
                return http.get("/healthz").status == 200
        except UnavailableError:
            return False

    def _http(self):
        return Http(parse_address(f"http://127.0.0.1:{self.rest}"), 30)

    def live_version(self):
        """The one that answers."""
        with self._http() as http:
            return self._ask(http, self.pictures["test"][0][0])[0]

    def accuracy(self, pictures):
        """Of what is live, by asking it."""
        with self._http() as http:
            return float(np.mean([self._ask(http, image)[1] == digit for image, digit in pictures]))

    def ask_all(self, pictures):
        """Requests of people, who tell afterwards what it was."""
        with self._http() as http:
            told = []
            for image, digit in pictures:
                *_, request_id = self._ask(http, image)
                told.append(TrueLabel(request_id, (str(digit),)))
        send_feedback(f"http://127.0.0.1:{self.rest}", told)

    @contextmanager
    def people(self, pictures):
        """They ask, again and again, until the block ends; gives the answers' versions as they come."""
        stop, came = threading.Event(), []

        def ask():
            draw = np.random.default_rng(1)
            with self._http() as http:
                while not stop.is_set():
                    told = []
                    for place in draw.integers(0, len(pictures), 50):
                        image, digit = pictures[place]
                        version, _, request_id = self._ask(http, image)
                        came.append(version)
                        told.append(TrueLabel(request_id, (str(digit),)))
                    send_feedback(f"http://127.0.0.1:{self.rest}", told)

        thread = threading.Thread(target=ask)
        thread.start()
        try:
            yield came
        finally:
            stop.set()
            thread.join(60)

    def _ask(self, http, image):
        body = {"instances": [{"image_bytes": {"b64": base64.b64encode(png(image)).decode()}}]}
        response = http.post(f"/v1/models/{NAME}:predict", {**body, "signature_name": "serving_bytes"})
        assert response.status == 200, response
        (prediction,) = json.loads(response.body)["predictions"]
        headers = response.headers
        return int(headers["x-slipway-version"]), int(prediction["label"]), headers["x-slipway-request-id"]


def png(image):
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def _value(word):
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return word
