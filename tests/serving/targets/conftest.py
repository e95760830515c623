"""A published base path, and small programs that stand where a server's binary would."""

import socket
import sys
from pathlib import Path

import pytest

from serving.targets import ServeSpec

# A program with TensorFlow Serving's flags that answers its REST status, and nothing else. SIGTERM ends it after
# --drain_s seconds; with --fail it ends by itself; --loading never gets further,
# and --denied lets nobody in.
SERVER = """#!{python}
import http.server, json, os, signal, subprocess, sys, time
flags = dict(part.lstrip("-").partition("=")[::2] for part in sys.argv[1:])
def stop(*_):
    time.sleep(float(flags.get("drain_s", 0)))
    print("drained", flush=True)
    os._exit(0)
signal.signal(signal.SIGTERM, signal.SIG_IGN if "stubborn" in flags else stop)
if "child" in flags:
    print("child", subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]).pid, flush=True)
if "fail" in flags:
    sys.exit("--fail: it was asked to\\n")
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        state = "LOADING" if "loading" in flags else "AVAILABLE"
        known = self.path == "/v1/models/pets"
        status = dict(version="1", state=state, status=dict(error_code="OK", error_message="still busy"))
        body = json.dumps(dict(model_version_status=[status]) if known else dict(error="Servable not found")).encode()
        self.send_response(401 if "denied" in flags else 200 if known else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
print("argv", json.dumps(sys.argv[1:]), flush=True)
http.server.ThreadingHTTPServer(("127.0.0.1", int(flags["rest_api_port"])), Handler).serve_forever()
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


def program(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture
def spec(tmp_path) -> ServeSpec:
    base = tmp_path / "base"
    base.mkdir()
    for name in ("models.config", "labels.config"):
        (base / name).write_text("")
    model_directory = tmp_path / "model"
    model_directory.mkdir()
    (model_directory / "MLmodel").write_text("")
    return ServeSpec("pets", base, rest_port=free_port(), grpc_port=free_port(), model_directory=model_directory)


@pytest.fixture
def binary(tmp_path, monkeypatch) -> Path:
    """A `tensorflow_model_server`, the only one on PATH."""
    path = tmp_path / "bin" / "tensorflow_model_server"
    program(path, SERVER.format(python=sys.executable))
    monkeypatch.setenv("PATH", str(path.parent))
    return path
