"""The model server as a process of its own, on free ports."""

import http.client
import json
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager


def free_ports(count):
    """Ports that nothing listens on just now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class ServerProcess:
    def __init__(self, log, *flags, command=(sys.executable,), tls=None):
        """`tls`: how REST is asked, an SSLContext; None is plain text."""
        self._tls = tls
        self.port, self.rest_port = free_ports(2)
        self.address = f"127.0.0.1:{self.port}"
        self._log = log
        arguments = [f"--port={self.port}", f"--rest_api_port={self.rest_port}", *flags]
        with log.open("wb") as stderr:
            self.process = subprocess.Popen([*command, "-m", "serving.model_server", *arguments], stderr=stderr)

    @property
    def log(self):
        return self._log.read_text()

    def request(self, method, path, document=None):
        connection = self.connect()
        try:
            connection.request(method, path, None if document is None else json.dumps(document))
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    def connect(self):
        if self._tls is None:
            return http.client.HTTPConnection("127.0.0.1", self.rest_port, timeout=30)
        return http.client.HTTPSConnection("127.0.0.1", self.rest_port, timeout=30, context=self._tls)

    def predict(self, model, instances, *, where="", signature="serving_default"):
        document = {"signature_name": signature, "instances": instances}
        return self.request("POST", f"/v1/models/{model}{where}:predict", document)

    def wait_for(self, condition, timeout_s=120.0):
        """Wait until the condition holds on a server that answers; an assertion with its log if it never does."""
        end = time.monotonic() + timeout_s
        while True:
            assert self.process.poll() is None, self.log
            try:
                if condition():
                    return
            except OSError:
                pass
            assert time.monotonic() < end, self.log
            time.sleep(0.05)

    def wait_ready(self):
        self.wait_for(lambda: self.request("GET", "/healthz")[0] == 200)

    def states(self, model):
        status, answer = self.request("GET", f"/v1/models/{model}")
        return {int(item["version"]): item["state"] for item in answer["model_version_status"]} if status == 200 else {}

    def stop(self, number=signal.SIGTERM):
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(60)


@contextmanager
def model_server(log, *flags, **how):
    """A server that is gone when the block ends."""
    server = ServerProcess(log, *flags, **how)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait()
