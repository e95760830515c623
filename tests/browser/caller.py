"""A client that asks a server over and over, and checks who answered against what was answered."""

import json
import threading
import time
import urllib.request
from contextlib import contextmanager

import numpy as np

from tests.browser.team_world import right_answer
from tests.serving.model_server.servables import SIZE

_PAUSE_S = 0.02
_TOLERANCE = 1e-4


class Caller(threading.Thread):
    """Asks without naming a version. `seeds`: version -> what its weights follow from."""

    def __init__(self, url, seeds):
        super().__init__(daemon=True)
        self.versions = []  # of each answer, in order
        self.failures = []
        self.ended = threading.Event()
        self._url = url
        pixels = np.random.default_rng(3).integers(0, 256, (1, *SIZE, 3)).astype(np.float32)
        self._body = json.dumps({"instances": pixels.tolist()}).encode()
        self._expected = {version: right_answer(seed, pixels)[0] for version, seed in seeds.items()}

    def run(self):
        while not self.ended.is_set():
            try:
                self.versions.append(self.ask())
            except Exception as failure:  # noqa: BLE001 - whatever it is: a request failed
                self.failures.append(repr(failure))
            time.sleep(_PAUSE_S)

    def ask(self):
        """The version that answered, by its header; an assertion if another one would have answered so."""
        request = urllib.request.Request(self._url, self._body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as response:
            version = int(response.headers["x-slipway-version"])
            (prediction,) = json.load(response)["predictions"]
        np.testing.assert_allclose(prediction["output"], self._expected[version], atol=_TOLERANCE)
        return version


@contextmanager
def calling(url, seeds):
    """A caller that asks until the block ends."""
    caller = Caller(url, seeds)
    caller.start()
    try:
        yield caller
    finally:
        caller.ended.set()
        caller.join(30)
