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


def test_the_registry_works_the_same_through_a_tracking_server(
    tracking_server, database_url, unique_name, tmp_path, monkeypatch
):
    from mlflow import MlflowClient

    for key, value in tracking_server.environment.items():
        monkeypatch.setenv(key, value)
    name = unique_name
    registry, client = Registry(tracking_server.uri), MlflowClient(tracking_server.uri)
    experiment = client.create_experiment(name)
    run_id = client.create_run(experiment).info.run_id
    (tmp_path / "model" / "servable").mkdir(parents=True)
    (tmp_path / "model" / "servable" / "labels.json").write_bytes(b"[]")
    model = client.create_logged_model(experiment, name="model", source_run_id=run_id)
    client.log_model_artifacts(model.model_id, str(tmp_path / "model"))
    client.finalize_logged_model(model.model_id, "READY")

    version = registry.create_version(NewVersion(name, f"models:/{model.model_id}", run_id, {"a": "b"}, "text"))
    assert registry.version(name, 1) == version
    copied = registry.download(version, "servable", tmp_path / "out")
    assert (copied / "labels.json").read_bytes() == b"[]"
    assert registry.local_directory(version) is None
    with pytest.raises(NotFoundError, match=r"servable/nope.*servable/labels\.json"):
        registry.download(version, "servable/nope", tmp_path / "out")

    evaluation = make_evaluation([0, 1], [0, 1], run_id=run_id)
    save_evaluation(registry, evaluation)
    assert load_evaluation(registry, run_id).accuracy == 1.0
    assert load_evaluation(registry, run_id, "9" * 64) is None

    ledger = Ledger(database_url)
    move_champion(registry, ledger, Change(name, 1, "promote", None, "ada", reason="first", forced=True))
    assert registry.by_alias(name, "champion").stage == "Production"
    assert registry.by_alias(name, "challenger") is None

    with pytest.raises(NotFoundError, match=rf"there is .*({name}|\.\.\.)"):
        registry.versions("letters")
    with pytest.raises(NotFoundError, match="no version 7; it has 1"):
        registry.version(name, 7)
    with pytest.raises(NotFoundError, match=f"run 'nope' does not exist.*{run_id}"):
        registry.run_tags("nope")
    with pytest.raises(InputError):
        registry.set_stage(name, 1, "Live")
    with pytest.raises(NotFoundError, match="m-nope"):
        registry.create_version(NewVersion(name, "models:/m-nope", run_id, {}, ""))


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
