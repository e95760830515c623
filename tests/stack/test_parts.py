"""What the stack is made of: processes that are found again, a folder that keeps its secrets."""

import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deploy.stack.daemon import Daemon
from deploy.stack.folder import Folder
from deploy.stack.mlflow_server import MlflowServer
from deploy.stack.postgresql import PostgreSQL
from deploy.stack.service import program
from deploy.stack.serving_path import drift, drift_environment, model_server, write_configuration
from deploy.stack.stack import Stack
from pipeline.cli import main as slipway
from pipeline.config import load_config
from slipway.errors import ConflictError, InputError, SlipwayError
from tests.pipeline.lifecycle_world import ROOT, wait_until

SLEEPS = (sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)")


@pytest.fixture
def folder(tmp_path):
    made = Folder(tmp_path / "stack")
    made.make()
    return made


def mode(path):
    return stat.S_IMODE(Path(path).stat().st_mode)


def test_a_process_is_found_again_by_whoever_looks_and_ended_by_them(folder):
    Daemon("one", folder).start(SLEEPS)
    again = Daemon("one", folder)
    pid = again.pid
    assert pid is not None
    assert os.getsid(pid) == pid
    Daemon("one", folder).start(SLEEPS)
    assert again.pid == pid, "what runs is not started again"
    again.stop()
    assert again.pid is None
    assert not alive(pid)


def test_a_pid_that_somebody_else_has_by_now_is_not_taken_for_ours_and_not_ended(folder):
    with subprocess.Popen(SLEEPS, stdout=subprocess.DEVNULL) as other:
        try:
            (folder.path / "run" / "one.pid").write_text(f"{other.pid} 1")
            daemon = Daemon("one", folder)
            assert daemon.pid is None
            daemon.stop()
            assert other.poll() is None
        finally:
            other.kill()


def test_what_ends_by_itself_is_told_with_the_last_line_of_its_log(folder):
    daemon = Daemon("one", folder)
    daemon.start((sys.executable, "-c", "import sys; sys.exit('no room')"))
    wait_until(lambda: daemon.pid is None, "it does not end", 20)
    with pytest.raises(SlipwayError, match=r"one ended.*no room"):
        daemon.check()


def test_what_does_not_end_when_it_is_asked_is_killed_with_what_it_started(folder):
    stubborn = (
        "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
        "print(child.pid, flush=True); time.sleep(600)"
    )
    daemon = Daemon("one", folder)
    daemon.start((sys.executable, "-c", stubborn))
    wait_until(lambda: daemon.log.read_text().strip(), "it does not start", 20)
    child = int(daemon.log.read_text())
    daemon.stop(signal.SIGTERM, timeout_s=0.3)
    assert daemon.pid is None
    wait_until(lambda: not alive(child), "what it started goes on", 10)


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except FileNotFoundError:
        return False


def test_a_process_gets_nothing_of_what_our_environment_says_of_databases_and_s3(folder, monkeypatch):
    for name in ("AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_PASSWORD", "PGPASSWORD", "SLIPWAY_DATABASE_URL"):
        monkeypatch.setenv(name, "ours")
    daemon = Daemon("one", folder)
    daemon.start((sys.executable, "-c", "import json, os; print(json.dumps(dict(os.environ)))"), {"PGPASSFILE": "its"})
    wait_until(lambda: daemon.pid is None, "it does not end", 20)
    environment = json.loads(daemon.log.read_text())
    assert "ours" not in environment.values()
    assert environment["PGPASSFILE"] == "its"


def test_the_model_server_is_told_of_each_file_that_its_sidecar_mirrors(folder, monkeypatch):
    monkeypatch.setattr("deploy.stack.serving_path.Program", lambda _daemon, command, *_: command)
    base = folder.inside("base")
    words = model_server(folder)
    for flag, name in (("model_config", "labels.config"), ("traffic_config", "traffic.json"), ("page", "page.json")):
        assert f"--{flag}_file={base / name}" in words


def test_the_drift_check_reads_what_the_model_server_logs_of_every_served_model(folder, monkeypatch):
    monkeypatch.setattr("deploy.stack.serving_path.Program", lambda _daemon, command, *_: command)
    write_configuration(folder)
    config = load_config(str(folder.path / "slipway.yaml"))
    assert f"--prediction_log={config.prediction_log}" in model_server(folder)
    assert mode(config.prediction_log) == 0o700
    words = drift(folder, {})
    assert words[:4] == [sys.executable, "-m", "pipeline", "drift"]
    told = slipway.commands["drift"].make_context("drift", words[4:]).params
    assert (told["served"], told["watch"], told["config"]) == (True, True, str(folder.path / "slipway.yaml"))


def test_the_drift_check_has_no_key_of_s3_and_no_token_of_the_model_server(folder):
    database = PostgreSQL(folder)
    needs = drift_environment(MlflowServer(folder, database, None), database)
    login = {"MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"}
    assert set(needs) == {*login, "SLIPWAY_DATABASE_URL", "PGPASSFILE"}


def test_the_stack_checks_for_drift_once_mlflow_is_there(folder):
    part = Stack(folder.path).parts["drift"]
    assert part.needs == ("mlflow",)


def test_a_password_is_made_once_and_only_its_owner_may_read_it(folder):
    password = folder.password("one")
    assert len(password) >= 32
    assert folder.password("one") == password
    assert Folder(folder.path).password("one") == password
    assert folder.password("two") != password
    assert mode(folder.path / "secrets") == 0o700
    assert mode(folder.path / "secrets" / "one") == 0o600


def test_others_may_pass_through_the_folder_and_not_look_into_it(folder):
    assert mode(folder.path) == 0o711
    assert mode(folder.path / "log") == 0o700


def test_a_port_is_kept_and_the_environment_stands_above_it(folder, monkeypatch):
    port = folder.port("mlflow")
    assert Folder(folder.path).port("mlflow") == port
    assert folder.port("s3") != port
    monkeypatch.setenv("SLIPWAY_STACK_MLFLOW_PORT", "5999")
    assert folder.port("mlflow") == 5999
    monkeypatch.setenv("SLIPWAY_STACK_MLFLOW_PORT", "http")
    with pytest.raises(InputError, match="SLIPWAY_STACK_MLFLOW_PORT is 'http'"):
        folder.port("mlflow")


def test_two_do_not_start_the_same_stack_at_once(folder):
    with folder.locked(), pytest.raises(ConflictError, match="being started or ended"), Folder(folder.path).locked():
        pass
    with folder.locked():
        pass


def test_a_program_that_is_missing_is_named_with_its_package(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(InputError, match="apt-get install --no-install-recommends radosgw"):
        program("radosgw", "--no-install-recommends radosgw")


def test_a_stack_that_was_never_started_is_ended_without_being_made(tmp_path):
    for command in ("down", "status"):
        done = subprocess.run(
            [sys.executable, "-m", "deploy.stack", command, "--folder", str(tmp_path / "none")],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == (0 if command == "down" else 1)
        assert "nothing runs" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [("up",), ("status",), ("down",), ("down", "--remove")])
def test_a_folder_of_somebody_else_s_stays_as_it_is(tmp_path, words):
    theirs = tmp_path / "thesis"
    theirs.mkdir(mode=0o700)
    (theirs / "chapter1.txt").write_text("years of work")
    done = subprocess.run(
        [sys.executable, "-m", "deploy.stack", *words, "--folder", str(theirs)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert f"{theirs}: holds what is no stack's" in done.stderr
    assert [file.name for file in theirs.iterdir()] == ["chapter1.txt"]
    assert mode(theirs) == 0o700


@pytest.mark.integration
def test_postgresql_runs_though_its_user_cannot_enter_the_folder(tmp_path):
    (tmp_path / "closed").mkdir(mode=0o700)
    folder = Folder(tmp_path / "closed" / "stack")
    folder.make()
    database = PostgreSQL(folder, forgetful=True)
    try:
        for _ in range(2):  # the second time, it finds what is there
            database.start()
            wait_until(database.answers, database.daemon.log.read_text, 60)
            database.prepare()
            database.stop()
    finally:
        database.stop()
    cluster = database.directory()
    inside = cluster.is_relative_to(folder.path.resolve())
    assert inside == (os.geteuid() != 0)
    subprocess.run(["rm", "-r", str(cluster)], check=True)


@pytest.mark.integration
def test_to_start_what_runs_changes_nothing(stack):
    before = stack.processes()
    began = time.monotonic()
    stack.up(lambda _text: None)
    assert stack.processes() == before
    assert time.monotonic() - began < 60
