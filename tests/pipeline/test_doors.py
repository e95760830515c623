"""`slipway serve`: what it is told of who may reach the server, before anything starts."""

import pytest
from click.testing import CliRunner

from pipeline.cli import main
from pipeline.doors import Doors
from slipway.errors import InputError

EVERYWHERE = "0.0.0.0"
HOSTS = [EVERYWHERE, "::", "192.168.1.4", "models.example.com"]


@pytest.fixture(autouse=True)
def token(monkeypatch):
    monkeypatch.setenv("SLIPWAY_TOKEN", "of-the-file")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_on_this_machine_alone_nothing_is_asked(host):
    for target in ("embedded", "mlflow", "tensorflow_model_server"):
        assert Doors().flags(target, host) == ()


@pytest.mark.parametrize("host", HOSTS)
def test_other_machines_need_a_reason_to_be_let_in(host):
    with pytest.raises(InputError, match=rf"--host {host}: .*expected --access-tokens FILE .*or --insecure"):
        Doors().flags("embedded", host)
    assert Doors(insecure=True).flags("embedded", host) == ("--insecure",)


@pytest.mark.parametrize("target", ["mlflow", "tensorflow_model_server"])
@pytest.mark.parametrize("host", HOSTS)
def test_a_target_that_asks_nobody_lets_other_machines_in_only_if_told_to(host, target):
    with pytest.raises(InputError, match=rf"--host {host}: .*{target} asks nobody.*--target embedded.*--insecure"):
        Doors().flags(target, host)
    assert Doors(insecure=True).flags(target, host) == ()


def test_a_program_that_listens_on_every_interface_is_never_on_this_machine_alone(tmp_path, monkeypatch):
    program = tmp_path / "tensorflow_model_server"
    program.touch(mode=0o700)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=r"--target tensorflow_model_server: listens on every interface.*--insecure"):
        Doors().flags("tensorflow_model_server", "127.0.0.1")
    assert Doors(insecure=True).flags("tensorflow_model_server", "127.0.0.1") == ()
    program.unlink()
    assert Doors().flags("tensorflow_model_server", "127.0.0.1") == ()


def test_a_watcher_s_server_lets_other_machines_in_only_if_told_to():
    ended = CliRunner().invoke(main, ["reconcile", "--watch", "--target", "mlflow", "--host", EVERYWHERE])
    assert ended.exit_code == 2
    assert f"--host {EVERYWHERE}: others than this machine reach it" in ended.output
    assert "pass --insecure" in ended.output
    ended = CliRunner().invoke(main, ["reconcile", "--watch", "--insecure"])
    assert "--insecure are for --target mlflow" in ended.output


def test_the_embedded_server_gets_its_files_by_absolute_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    doors = Doors("tokens", "ssl.config", "-")
    assert doors.tls
    assert doors.flags("embedded", EVERYWHERE) == (
        f"--access_tokens_file={tmp_path}/tokens",
        f"--ssl_config_file={tmp_path}/ssl.config",
        "--access_log=-",
    )


@pytest.mark.parametrize("given", [Doors("tokens"), Doors(ssl_config="x"), Doors(access_log="x")])
@pytest.mark.parametrize("target", ["mlflow", "tensorflow_model_server"])
def test_other_targets_have_no_doors(given, target):
    with pytest.raises(InputError, match=rf"target {target} has none. Use --target embedded"):
        given.flags(target, "127.0.0.1")


def test_a_server_with_tokens_is_not_started_by_who_has_none(monkeypatch):
    monkeypatch.delenv("SLIPWAY_TOKEN")
    monkeypatch.delenv("SLIPWAY_TOKEN_FILE", raising=False)
    with pytest.raises(InputError, match=r"--access-tokens tokens: SLIPWAY_TOKEN is not set"):
        Doors("tokens").flags("embedded", "127.0.0.1")
