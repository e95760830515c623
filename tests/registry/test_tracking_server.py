import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from registry.client import NewVersion, Registry
from registry.evaluation import load_evaluation, save_evaluation
from registry.ledger import Ledger
from registry.promote import Change, move_champion
from slipway.errors import InputError, NotFoundError, UnavailableError
from tests.registry.conftest import make_evaluation

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def server(template_store, tmp_path_factory):
    """MLflow's tracking server, serving artifacts itself, as a team runs it."""
    folder = tmp_path_factory.mktemp("tracking-server")
    shutil.copy(template_store, folder / "mlflow.db")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    arguments = [
        *("--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "artifacts")),
        *("--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", *arguments], stdout=log, stderr=log, start_new_session=True
        )
    try:
        _wait_until_healthy(f"http://127.0.0.1:{port}", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def _wait_until_healthy(address, process):
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        assert process.poll() is None, "mlflow server ended"
        try:
            urllib.request.urlopen(f"{address}/health", timeout=2).close()
        except OSError:
            time.sleep(0.5)
        else:
            return
    pytest.fail("mlflow server did not answer within 180 s")


def test_the_registry_works_the_same_through_a_tracking_server(server, tmp_path):
    from mlflow import MlflowClient

    registry, client = Registry(server), MlflowClient(server)
    experiment = client.create_experiment("test")
    run_id = client.create_run(experiment).info.run_id
    (tmp_path / "model" / "servable").mkdir(parents=True)
    (tmp_path / "model" / "servable" / "labels.json").write_bytes(b"[]")
    model = client.create_logged_model(experiment, name="model", source_run_id=run_id)
    client.log_model_artifacts(model.model_id, str(tmp_path / "model"))
    client.finalize_logged_model(model.model_id, "READY")

    version = registry.create_version(NewVersion("digits", f"models:/{model.model_id}", run_id, {"a": "b"}, "text"))
    assert registry.version("digits", 1) == version
    copied = registry.download(version, "servable", tmp_path / "out")
    assert (copied / "labels.json").read_bytes() == b"[]"
    assert registry.local_directory(version) is None
    with pytest.raises(NotFoundError, match=r"servable/nope.*servable/labels\.json"):
        registry.download(version, "servable/nope", tmp_path / "out")

    evaluation = make_evaluation([0, 1], [0, 1], run_id=run_id)
    save_evaluation(registry, evaluation)
    assert load_evaluation(registry, run_id).accuracy == 1.0
    assert load_evaluation(registry, run_id, "9" * 64) is None

    ledger = Ledger(f"sqlite:///{tmp_path}/slipway.db")
    move_champion(registry, ledger, Change("digits", 1, "promote", None, "ada", reason="first", forced=True))
    assert registry.by_alias("digits", "champion").stage == "Production"
    assert registry.by_alias("digits", "challenger") is None

    with pytest.raises(NotFoundError, match="there is digits"):
        registry.versions("letters")
    with pytest.raises(NotFoundError, match="no version 7; it has 1"):
        registry.version("digits", 7)
    with pytest.raises(NotFoundError, match=f"run 'nope' does not exist.*{run_id}"):
        registry.run_tags("nope")
    with pytest.raises(InputError):
        registry.set_stage("digits", 1, "Live")
    with pytest.raises(NotFoundError, match="m-nope"):
        registry.create_version(NewVersion("digits", "models:/m-nope", run_id, {}, ""))


def test_an_address_of_another_web_server_is_refused_in_one_line(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        address = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(address, timeout=2).close()
                break
            except OSError:
                time.sleep(0.1)
        with pytest.raises(UnavailableError, match=rf"{address}.*is not MLflow's") as failure:
            Registry(address)
        assert "\n" not in str(failure.value)
    finally:
        process.terminate()
        process.wait(20)
