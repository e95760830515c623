"""Where the server listens: on this machine alone, unless something asks others who they are."""

import logging

import pytest

from serving.model_server.addresses import addresses
from serving.model_server.door_files import read_door_files
from serving.model_server.flag_parsing import parse_flags
from slipway.errors import InputError
from tests.serving.model_server.certificates import Authority, ssl_config
from tests.serving.model_server.closed_world import give_token

BASE = "--model_base_path=/models/m"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("loopback")
    authority = Authority()
    key, certificate = authority.issue("server")
    pair = {"server_key": key, "server_cert": certificate}
    give_token(folder / "tokens", "one")
    ssl_config(folder / "tls", **pair)
    ssl_config(folder / "mutual", **pair, custom_ca=authority.pem, client_verify=True)
    return {
        "tokens": f"--access_tokens_file={folder / 'tokens'}",
        "tls": f"--ssl_config_file={folder / 'tls'}",
        "mutual": f"--ssl_config_file={folder / 'mutual'}",
    }


def read(*flags):
    return read_door_files(parse_flags([BASE, *flags]))


def test_by_itself_it_listens_on_this_machine_alone():
    assert addresses(parse_flags([BASE])) == "http://127.0.0.1:8501 and grpc://127.0.0.1:8500"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_on_this_machine_nobody_is_asked(host):
    read(f"--host={host}")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "::ffff:127.0.0.1", "server.example.com"])
@pytest.mark.parametrize("ports", [(), ("--port=0",), ("--rest_api_port=0",)])
def test_others_are_not_let_in_unasked(files, host, ports):
    for closed_enough in ((), (files["tls"],)):
        with pytest.raises(
            InputError, match=rf"^--host={host}: .*expected --access_tokens_file=FILE .*or client_verify .*--insecure"
        ):
            read(f"--host={host}", *ports, *closed_enough)


def test_a_unix_socket_alone_has_no_host():
    read("--host=0.0.0.0", "--port=0", "--rest_api_port=0", "--grpc_socket_path=socket")


def test_tokens_or_clients_certificates_open_it_to_others(files, caplog):
    caplog.set_level(logging.WARNING)
    read("--host=0.0.0.0", files["mutual"])
    read("--host=0.0.0.0", files["tls"], files["tokens"])
    assert not caplog.text
    read("--host=0.0.0.0", files["tokens"])
    assert "tokens come to 0.0.0.0 in plain text" in caplog.text


def test_it_can_be_told_to_let_everybody_in_and_says_what_that_means(caplog):
    read("--host=0.0.0.0", "--insecure")
    assert "everybody who reaches 0.0.0.0 may use this server and change what it serves" in caplog.text


def test_its_addresses_say_whether_they_are_over_tls(files):
    flags = parse_flags([BASE, files["tls"], "--host=::1"])
    assert addresses(flags) == "https://[::1]:8501 and grpcs://[::1]:8500"


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (("--access_tokens_file=/none",), "--access_tokens_file=/none: no such file"),
        (("--access_log=/none/at/all",), r"--access_log=/none/at/all: cannot be opened \(No such file or directory\)"),
        (("--max_connections=-1",), "--max_connections=-1: expected 0 or more"),
    ],
)
def test_a_door_that_cannot_be_made_names_its_flag(flags, expected):
    with pytest.raises(InputError, match=expected):
        read(*flags)
