"""The server's own log as JSON: a line an event, and of a prediction which one."""

import json
import logging
from contextlib import contextmanager

import pytest
import requests

from serving.model_server.log_format import JsonLines
from serving.model_server.metrics import Metrics
from serving.model_server.request import Request
from tests.serving.model_server.fakes import spec
from tests.serving.model_server.test_metrics import World


@contextmanager
def logged():
    """What the server logs meanwhile, each line parsed."""
    lines = []

    class Kept(logging.Handler):
        def emit(self, record):
            text = self.format(record)
            assert "\n" not in text
            lines.append(json.loads(text))

    handler = Kept()
    handler.setFormatter(JsonLines())
    logger = logging.getLogger("serving")
    logger.addHandler(handler)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)


@pytest.fixture
def world(tmp_path):
    with World(tmp_path / "m").started() as world:
        yield world


def test_a_line_that_is_about_a_rest_request_says_which_and_of_which_version(world):
    with logged() as lines:
        reply = requests.post(
            f"{world.address}/v1/models/m/versions/1:predict",
            json={"instances": [1.0], "signature_name": "crash"},
            timeout=20,
        )
    (line,) = lines
    assert reply.status_code == 500
    assert (line["level"], line["logger"]) == ("ERROR", "serving.model_server.rest")
    assert (line["model"], line["version"]) == ("m", 1)
    assert line["request_id"] == reply.headers["x-slipway-request-id"]
    assert "RuntimeError: crashed with a secret" in line["exception"]


def test_a_line_that_is_about_a_grpc_call_says_which(world, monkeypatch):
    monkeypatch.setattr(world.models, "acquire", lambda _spec: 1 // 0)
    with logged() as lines:
        world.grpc(spec())
    (line,) = lines
    assert line["model"] == "m"
    assert line["request_id"].startswith("0-none-")
    assert "version" not in line


def test_other_lines_have_a_time_a_level_and_a_message():
    with logged() as lines:
        logging.getLogger("serving.x").warning("%s is %d", "one", 1)
    (line,) = lines
    assert (line["level"], line["logger"], line["message"]) == ("WARNING", "serving.x", "one is 1")
    assert line["time"].endswith("+00:00")
    assert set(line) == {"time", "level", "logger", "message"}


def test_a_line_that_comes_before_the_version_is_known_fixes_no_request_id():
    with logged() as lines, Request(Metrics(), "REST", "predict", "m") as request:
        logging.getLogger("serving.x").warning("not yet")
        assert "request_id" not in lines[0]
    assert request.id.startswith("0-none-")


def test_a_name_that_is_no_utf8_loses_no_line():
    name = b"caf\xe9".decode("utf-8", "surrogateescape")
    # Not logged: pytest would keep the name in its report, and xdist cannot send it.
    record = logging.makeLogRecord({"msg": "cannot read %s", "args": (name,)})
    assert json.loads(JsonLines().format(record))["message"] == f"cannot read {name}"
