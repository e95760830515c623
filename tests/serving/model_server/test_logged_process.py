"""A server that is killed under load: what it had answered is in the log, and every file can be read."""

import http.client
import json
import signal
import threading
import time

import numpy as np
import pyarrow.compute as pc
import pytest

from serving.prediction_log.places import journals
from serving.prediction_log.reading import read_records
from tests.serving.model_server.fakes import eventually
from tests.serving.model_server.processes import model_server
from tests.serving.model_server.servables import SIZE, png, publish_servable

pytestmark = pytest.mark.integration
CLIENTS = 4


class Load:
    """Clients that ask until the server is gone; the id of each answer, and when it came."""

    def __init__(self, port):
        self.answers = []
        self.port = port
        import base64

        picture = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
        encoded = base64.b64encode(png(picture)).decode()
        self.body = json.dumps({"signature_name": "serving_bytes", "instances": [{"b64": encoded}]})
        self.threads = [threading.Thread(target=self._ask) for _ in range(CLIENTS)]
        for thread in self.threads:
            thread.start()

    def older_than(self, seconds):
        """How many answers came before that many seconds ago."""
        return sum(answered_at < time.time() - seconds for _, answered_at in list(self.answers))

    def join(self):
        for thread in self.threads:
            thread.join()

    def _ask(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            while True:
                connection.request("POST", "/v1/models/m:predict", self.body)
                response = connection.getresponse()
                response.read()
                self.answers.append((response.headers["x-slipway-request-id"], time.time()))
        except (OSError, http.client.HTTPException):
            connection.close()


def test_a_kill_loses_at_most_the_last_second_and_the_next_server_takes_over(tmp_path):
    publish_servable(tmp_path / "m", 1, {"openvino-fp32": 30.0})
    log = tmp_path / "log"
    flags = (
        "--model_name=m",
        f"--model_base_path={tmp_path / 'm'}",
        "--variant=openvino-fp32",
        f"--prediction_log={log}",
        "--prediction_log_max_mb=4",  # so that it rotates under the load, too
    )
    kept = set()
    for number in range(2):
        with model_server(tmp_path / f"stderr-{number}", *flags) as server:
            server.wait_ready()
            load = Load(server.rest_port)
            time.sleep(2)
            eventually(lambda: load.older_than(1.0) > 100, 60)  # noqa: B023
            killed_at = time.time()
            server.stop(signal.SIGKILL)
            load.join()
        found = set(read_records(log, "m")["request_id"].to_pylist())
        before = {request_id for request_id, answered_at in load.answers if answered_at < killed_at - 1}
        assert before <= found, server.log
        kept |= before
        assert SIZE[1] in pc.unique(read_records(log, "m")["width"]).to_pylist()
        assert journals(log / "m")
    with model_server(tmp_path / "stderr", *flags) as server:
        server.wait_ready()
        assert server.stop() == 0
        assert "prediction log" in server.log
    assert not journals(log / "m")
    assert kept <= set(read_records(log, "m")["request_id"].to_pylist())
