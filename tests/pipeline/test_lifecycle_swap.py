"""A promotion and a rollback under load: no request fails, and the answers change over once."""

import time
from contextlib import closing
from types import SimpleNamespace

import pytest

from serving.client import connect
from tests.pipeline.lifecycle_callers import Caller, kept_open, rest
from tests.pipeline.lifecycle_world import NAME, background, free_ports, wait_until

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def world(original, third, tmp_path_factory):
    return original.copy(tmp_path_factory.mktemp("swap") / "world")


@pytest.fixture(scope="module")
def servers(world):
    """`serve`, and a server told as the real TensorFlow Serving is: on models.config, without --default_label."""
    ours, plain = free_ports(), free_ports()
    flags = (
        f"--rest_api_port={plain[0]}",
        f"--port={plain[1]}",
        f"--model_config_file={world.base / 'models.config'}",
        "--model_config_file_poll_wait_seconds=1",
    )
    logs = world.folder / "serve.log", world.folder / "plain.log"
    with (
        background(world, "serve", "--rest-port", ours[0], "--grpc-port", ours[1], log=logs[0]),
        background(world, *flags, module="serving.model_server", log=logs[1]),
    ):
        for (port, _), log in zip((ours, plain), logs, strict=True):
            ask = rest(port, world.picture())
            wait_until(lambda ask=ask: _answers(ask), lambda log=log: log.read_text())
        yield {"serve": ours, "models.config": plain}


def _answers(ask):
    try:
        return ask()
    except AssertionError:  # the port is open, the version is still loading
        return None


@pytest.fixture(scope="module")
def told(world, servers):
    """Callers of both servers by three protocols, while version 2 is promoted and then rolled back."""
    picture = world.picture()
    callers = [
        Caller(f"{server} {kind}", ask)
        for server, (rest_port, grpc_port) in servers.items()
        for kind, ask in (
            ("REST", rest(rest_port, picture)),
            ("REST kept open", kept_open(f"http://127.0.0.1:{rest_port}", picture)),
            ("gRPC", kept_open(f"grpc://127.0.0.1:{grpc_port}", picture)),
        )
    ]
    for caller in callers:
        caller.start()
    try:
        for words, version in (((), 1), (("promote", "--version", 2), 2), (("rollback",), 1)):
            if words:
                rolled_back = time.monotonic()
                done = world.run(*words)
                assert done.code == 0, done.err
            for caller in callers:
                caller.until(version)
            for caller in callers:
                caller.again()
            if version == 2:
                own = {each: asked_by_number(servers["serve"][0], each, picture) for each in (1, 2)}
    finally:
        for caller in callers:
            caller.stop()
    return SimpleNamespace(callers=callers, rolled_back=rolled_back, own=own)


def asked_by_number(port, version, picture):
    """A version's probabilities; after a promotion the embedded server holds the champion before as well."""
    with closing(connect(f"http://127.0.0.1:{port}", NAME, version=version)) as client:
        return client.predict([picture.read_bytes()])[0].output


def test_no_request_fails(told):
    for caller in told.callers:
        assert caller.failures == []
        assert len(caller.answers) > 20


def test_each_client_hears_version_1_then_2_then_1(told):
    """Each hears every version, and never goes back and forth."""
    assert [caller.versions for caller in told.callers] == [[1, 2, 1]] * len(told.callers)


def test_a_server_changes_over_for_all_its_clients_at_once(told):
    """When one client has been answered by the new version, no request begun after that is answered by the old one."""
    for server in ("serve", "models.config"):
        answers = [a for caller in told.callers if caller.name.startswith(f"{server} ") for a in caller.answers]
        promoting = [answer for answer in answers if answer[0] < told.rolled_back]
        rolling_back = [answer for answer in answers if answer[0] >= told.rolled_back]
        for phase, new in ((promoting, 2), (rolling_back, 1)):
            changed = min(ended for _, ended, version, _ in phase if version == new)
            assert {version for begun, _, version, _ in phase if begun > changed} == {new}


def test_every_answer_is_one_of_the_two_versions_own(told):
    """Whatever version an answer says it is of, its numbers are those of that version, asked for by number."""
    assert max(abs(one - other) for one, other in zip(told.own[1], told.own[2], strict=True)) > 1e-3
    for caller in told.callers:
        for _, _, version, output in caller.answers:
            assert output == pytest.approx(told.own[version], abs=1e-5)
