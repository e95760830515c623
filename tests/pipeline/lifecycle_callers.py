"""Clients that ask a server again and again, without naming a version, and remember every answer."""

import base64
import http.client
import json
import threading
import time

from serving.client import connect
from tests.pipeline.lifecycle_world import NAME, wait_until

PAUSE_S = 0.03


class Caller(threading.Thread):
    """Asks `ask()`, which returns (version, output), until it is stopped.

    answers: (begun, ended, version, output) of each request, in order. failures: what was raised.
    """

    def __init__(self, name, ask):
        super().__init__(name=name, daemon=True)
        self.answers = []
        self.failures = []
        self._ask = ask
        self._stopping = threading.Event()

    def run(self):
        while not self._stopping.wait(PAUSE_S):
            begun = time.monotonic()
            try:
                version, output = self._ask()
            except Exception as error:  # noqa: BLE001 - every failure counts
                self.failures.append(f"{self.name}: {type(error).__name__}: {error}")
            else:
                self.answers.append((begun, time.monotonic(), version, output))

    def stop(self):
        self._stopping.set()
        self.join(60)

    def until(self, version):
        """Wait until the newest answer is of `version`."""
        return wait_until(
            lambda: self.answers and self.answers[-1][2] == version,
            lambda: f"{self.name} never heard version {version}: {self.answers[-1:]}, {self.failures[-3:]}",
            timeout_s=120,
        )

    def again(self):
        """Wait for the answer to a request that has not begun yet."""
        now = time.monotonic()
        return wait_until(
            lambda: self.answers and self.answers[-1][0] > now,
            lambda: f"{self.name} asks no more: {self.answers[-1:]}, {self.failures[-3:]}",
        )

    @property
    def versions(self):
        """The versions in the order heard, repetitions left out."""
        seen = []
        for _, _, version, _ in self.answers:
            if seen[-1:] != [version]:
                seen.append(version)
        return seen


def rest(port, picture):
    """A new connection each time, written without this project's client."""
    body = json.dumps(
        {
            "signature_name": "serving_bytes",
            "instances": [{"image_bytes": {"b64": base64.b64encode(picture.read_bytes()).decode()}}],
        }
    )

    def ask():
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            connection.request("POST", f"/v1/models/{NAME}:predict", body)
            response = connection.getresponse()
            document = json.loads(response.read())
            assert response.status == 200, document
            return int(response.headers["x-slipway-version"]), tuple(document["predictions"][0]["output"])
        finally:
            connection.close()

    return ask


def kept_open(address, picture):
    """One connection for all requests: REST with keep-alive, or gRPC."""
    client = connect(address, NAME)
    data = picture.read_bytes()

    def ask():
        answer = client.predict([data])[0]
        return int(answer.version), answer.output

    return ask
