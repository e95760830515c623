"""What every target must give alike; a new row in the table is tested by being there."""

import dataclasses
import os
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from serving.targets import TARGETS, ServeSpec, open_target
from slipway.errors import InputError, UnavailableError
from tests.serving.client.servers import serving_http


@pytest.fixture(params=sorted(TARGETS))
def target(request, binary):
    return open_target(request.param)


def test_its_command_is_a_program_that_can_be_started(target, spec):
    """The first argument is an executable file, named absolutely."""
    program = Path(target.command(spec).argv[0])
    assert program.is_absolute()
    assert os.access(program, os.X_OK)


def test_its_command_holds_the_port_and_ends_in_the_extra_arguments(target, spec):
    """Our own flags come first, so that the user's may override them."""
    argv = target.command(dataclasses.replace(spec, extra_args=("--mine=1", "--too"))).argv
    assert argv[-2:] == ("--mine=1", "--too")
    assert any(str(spec.rest_port) in argument for argument in argv)


def test_its_addresses_are_those_of_this_machine(target, spec):
    """A server that listens on all interfaces is reached on the loopback."""
    assert target.addresses(spec).rest == f"http://127.0.0.1:{spec.rest_port}"
    assert target.addresses(dataclasses.replace(spec, host="0.0.0.0")) == target.addresses(spec)
    assert target.addresses(dataclasses.replace(spec, host="::1")).rest == f"http://[::1]:{spec.rest_port}"


def test_a_server_over_tls_is_reached_over_tls(spec):
    """The schemes say so to every client."""
    secure = open_target("embedded").addresses(dataclasses.replace(spec, tls=True))
    assert (secure.rest, secure.grpc) == (
        f"https://127.0.0.1:{spec.rest_port}",
        f"grpcs://127.0.0.1:{spec.grpc_port}",
    )


def test_its_state_is_unavailable_while_nothing_answers(target, spec):
    """Not started is neither ready nor a failure of its own."""
    with pytest.raises(UnavailableError, match=str(spec.rest_port)):
        target.state(spec)


def test_it_refuses_what_was_never_published(target, tmp_path):
    """An empty base, or no model directory, is refused before anything starts, with a remedy."""
    with pytest.raises(InputError, match=r"expected .*\. (Promote|Pass) "):
        target.command(ServeSpec("pets", tmp_path / "nowhere"))


def test_an_unknown_target_lists_the_known_ones():
    """The error is the list of rows."""
    with pytest.raises(
        InputError, match=r"'triton' is unknown; expected one of embedded, tensorflow_model_server, mlflow"
    ):
        open_target("triton")


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"rest_port": 0}, "--rest-port 0: expected a port from 1 to 65535"),
        ({"grpc_port": 70000}, "--grpc-port 70000"),
        ({"rest_port": 8500}, "both 8500"),
        ({"name": "../x"}, r"model name '\.\./x'"),
    ],
)
def test_what_cannot_be_served_is_refused_when_it_is_said(wrong, complaint, tmp_path):
    """Ports and names are checked before a process is."""
    with pytest.raises(InputError, match=complaint):
        ServeSpec(**{"name": "pets", "base": tmp_path} | wrong)


@pytest.mark.parametrize("stable", [True, False])
def test_the_embedded_server_is_ready_when_the_champion_is(stable, spec):
    """A previous champion that is loaded, where the champion failed to load, does not make it ready."""
    versions = [
        {
            "version": "2",
            "state": "END",
            "status": {"error_code": "INTERNAL", "error_message": "golden requests differ"},
        },
        {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}},
    ]
    label = (
        {"model_version_status": versions[1:]} if stable else {"error": "Unrecognized servable version label: stable"}
    )
    app = Starlette(
        routes=[
            Route("/v1/models/pets", lambda _: JSONResponse({"model_version_status": versions})),
            Route("/v1/models/pets/labels/stable", lambda _: JSONResponse(label, 200 if stable else 400)),
        ]
    )
    with serving_http(app) as address:
        listening = dataclasses.replace(spec, rest_port=int(address.rpartition(":")[2]))
        ready, words = open_target("embedded").state(listening)
    assert ready is stable
    assert words == "version 2 END golden requests differ; version 1 AVAILABLE"
