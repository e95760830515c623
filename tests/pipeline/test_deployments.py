"""The target `slipway` of MLflow's deployments, on both kinds of server: one contract for what MLflow promises."""

import base64
import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
from mlflow.deployments import get_deploy_client
from mlflow.exceptions import MlflowException

from serving.model_config import Wanted
from tests.pipeline.lifecycle_world import free_ports, wait_until
from tests.serving.model_server.processes import model_server
from tests.serving.model_server.servables import LABELS, SIZE, answers, png

pytestmark = pytest.mark.integration

FILES = {"embedded": "labels.config", "tensorflow_model_server": "models.config"}


@pytest.fixture(params=FILES)
def server(request, registered, tmp_path):
    """A server on an empty base path, as Slipway starts the embedded one, or as the real binary would be started."""
    registered.base.mkdir()
    for file in FILES.values():
        (registered.base / file).write_text("model_config_list {}\n")
    with model_server(tmp_path / "server.log", *registered.server_flags(FILES[request.param])) as server:
        server.wait_for(lambda: server.request("GET", "/v1/models/none")[0] == 404)
        yield server


@pytest.fixture
def client(registered, server, monkeypatch):
    """MLflow's own client for the target, with servers and base path from the environment."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", registered.uri)
    monkeypatch.setattr("mlflow.tracking._tracking_service.utils._tracking_uri", None, raising=False)
    monkeypatch.setenv("SLIPWAY_DEPLOYMENTS_BASE", str(registered.base))
    monkeypatch.setenv("SLIPWAY_DEPLOYMENTS_SERVERS", f"grpc://{server.address}")
    monkeypatch.chdir(registered.folder)
    return get_deploy_client("slipway")


@pytest.fixture
def champion(registered):
    """Version 1 of `digits`, with the alias champion."""
    version = registered.version()
    registered.made_live(version)
    return version


def pixels(count=3):
    return np.random.default_rng(1).integers(0, 256, (count, *SIZE, 3), np.uint8)


def expected(images):
    return [LABELS[place] for place in answers(images).argmax(1)]


def labels(response):
    return [row["label"] for row in response["predictions"]]


def test_create_serves_the_alias_get_and_list_say_so_and_predict_answers(client, champion):
    made = client.create_deployment("digits", "models:/digits@champion")
    assert (made["name"], made["flavor"], made["version"]) == ("digits", "slipway", 1)
    assert [each["name"] for each in client.list_deployments()] == ["digits"]
    (state,) = client.get_deployment("digits")["servers"].values()
    assert (state["live"], state["versions"]["1"]["state"]) == (1, "AVAILABLE")
    images = pixels()
    table = pd.DataFrame({"input": [image.tolist() for image in images]})
    assert labels(client.predict("digits", table)) == expected(images)


def test_predict_takes_encoded_images_in_base64_or_as_bytes(client, champion):
    client.create_deployment("digits", "models:/digits/1")
    images = pixels()
    files = [png(image) for image in images]
    encoded = [base64.b64encode(file).decode() for file in files]
    for inputs in (
        pd.DataFrame({"image_bytes": encoded}),
        {"dataframe_records": [{"image_bytes": each} for each in encoded]},
        [{"image_bytes": file} for file in files],
    ):
        response = client.predict("digits", inputs)
        assert labels(response) == expected(images)
    frame = response.get_predictions()
    assert list(frame["class_id"]) == list(answers(images).argmax(1))


def test_predictions_over_rest_are_the_same(client, champion, server):
    client.create_deployment("digits", "models:/digits/1")
    images = pixels()
    over_rest = get_deploy_client(f"slipway:http://127.0.0.1:{server.rest_port}")
    for inputs in ({"input": images.tolist()}, [{"image_bytes": png(image)} for image in images]):
        rows, others = client.predict("digits", inputs), over_rest.predict("digits", inputs)
        assert labels(rows) == labels(others) == expected(images)
        for row, other in zip(rows["predictions"], others["predictions"], strict=True):
            assert row["output"] == pytest.approx(other["output"], abs=1e-6)


def test_a_name_of_its_own_serves_one_version_whatever_the_aliases_do(client, champion, registered):
    second = registered.version()
    client.create_deployment("trial", "models:/digits/2")
    assert client.get_deployment("trial")["version"] == 2
    assert labels(client.predict("trial", pixels())) == expected(pixels())
    registered.registry.set_alias("digits", "champion", second.version)
    client.update_deployment("trial", "models:/digits/1")
    assert client.get_deployment("trial")["version"] == 1
    assert [entry.to_version for entry in registered.ledger.entries("trial")] == [2, 1]
    assert registered.ledger.verify_chain() == len(registered.ledger.entries())


def test_an_update_under_the_models_own_name_is_a_promotion(client, champion, registered):
    """The alias moves, the ledger has the gate's report, and where it came from."""
    client.create_deployment("digits", "models:/digits@champion")
    second = registered.version()
    report = registered.logged_report(second, against=1)
    client.update_deployment("digits", "models:/digits/2", config={"reason": "it is time"})
    assert registered.registry.aliases("digits")["champion"] == 2
    entry = registered.ledger.last("digits", "champion")
    assert (entry.to_version, entry.origin, entry.reason) == (2, "deployments", "it is time")
    assert entry.gate_report == report
    assert client.get_deployment("digits")["version"] == 2


def test_what_the_gate_did_not_pass_needs_force_and_a_reason(client, champion, registered):
    client.create_deployment("digits", "models:/digits@champion")
    second = registered.version()
    with pytest.raises(MlflowException, match=r"the gate has not judged it\. Run: slipway gate"):
        client.update_deployment("digits", "models:/digits/2")
    registered.logged_report(second, right=3, against=1)
    with pytest.raises(MlflowException, match="the gate refused it"):
        client.update_deployment("digits", "models:/digits/2")
    assert client.get_deployment("digits")["version"] == 1
    client.update_deployment("digits", "models:/digits/2", config={"force": "true", "reason": "the demo"})
    assert client.get_deployment("digits")["version"] == 2


@pytest.mark.parametrize("name", ["digits", "trial"])
def test_delete_takes_it_from_the_servers_and_leaves_the_bytes(client, champion, registered, name):
    client.create_deployment(name, "models:/digits/1")
    client.delete_deployment(name, config={"reason": "no longer used"})
    assert client.list_deployments() == []
    with pytest.raises(MlflowException) as caught:
        client.predict(name, {"input": pixels().tolist()})
    assert caught.value.error_code == "RESOURCE_DOES_NOT_EXIST"
    assert (registered.base / name / "1" / "saved_model.pb").is_file()
    entry = registered.ledger.last(name, "champion")
    assert (entry.action, entry.from_version, entry.to_version, entry.reason) == ("retire", 1, None, "no longer used")
    assert registered.registry.aliases("digits").get("champion") == (None if name == "digits" else 1)


def test_damaged_bytes_are_refused_and_what_was_live_stays(client, champion, registered):
    registered.version()
    client.create_deployment("trial", "models:/digits/1")
    damaged = registered.servable(2, "digits") / "labels.json"
    damaged.write_bytes(damaged.read_bytes().swapcase())
    with pytest.raises(MlflowException, match=r"labels\.json"):
        client.update_deployment("trial", "models:/digits/2")
    assert client.get_deployment("trial")["version"] == 1
    assert labels(client.predict("trial", pixels())) == expected(pixels())


def test_a_version_with_other_golden_answers_is_refused_and_what_was_live_stays(client, champion, registered):
    registered.version(spoiled=("onnx-fp32",))
    client.create_deployment("trial", "models:/digits/1")
    with pytest.raises(MlflowException, match="version 2 is refused"):
        client.update_deployment("trial", "models:/digits/2")
    assert client.get_deployment("trial")["version"] == 1
    assert labels(client.predict("trial", pixels())) == expected(pixels())
    assert "versions: 2" not in (registered.base / "models.config").read_text()


def test_what_cannot_be_done_is_an_mlflow_exception_with_its_code(client, champion, registered):
    client.create_deployment("trial", "models:/digits@champion")
    registered.version("letters")
    for action, code, said in (
        (lambda: client.create_deployment("trial", "models:/digits/1"), "RESOURCE_ALREADY_EXISTS", "exists, of"),
        (lambda: client.update_deployment("none", "models:/digits/1"), "RESOURCE_DOES_NOT_EXIST", "there is trial"),
        (lambda: client.update_deployment("trial"), "INVALID_PARAMETER_VALUE", "--model-uri"),
        (lambda: client.delete_deployment("none"), "RESOURCE_DOES_NOT_EXIST", "there is trial"),
        (lambda: client.get_deployment("none"), "RESOURCE_DOES_NOT_EXIST", "there is trial"),
        (lambda: client.predict("none", {"input": pixels().tolist()}), "RESOURCE_DOES_NOT_EXIST", "none"),
        (lambda: client.create_deployment("letters", "models:/digits/1"), "INVALID_PARAMETER_VALUE", "that name"),
        (lambda: client.create_deployment("a-canary", "models:/digits/1"), "INVALID_PARAMETER_VALUE", "candidates"),
        (lambda: client.create_deployment("../up", "models:/digits/1"), "INVALID_PARAMETER_VALUE", "model name"),
        (lambda: client.create_deployment("x", "models:/nope/1"), "RESOURCE_DOES_NOT_EXIST", "does not exist"),
        (lambda: client.create_deployment("x", "models:/digits/9"), "RESOURCE_DOES_NOT_EXIST", "no version 9"),
        (lambda: client.create_deployment("x", "models:/digits@best"), "RESOURCE_DOES_NOT_EXIST", "no alias 'best'"),
        (lambda: client.create_deployment("x", "models:/digits/Production"), "RESOURCE_DOES_NOT_EXIST", "stage"),
        (lambda: client.create_deployment("x", "models:/digits/latest"), "INVALID_PARAMETER_VALUE", "no version"),
        (lambda: client.create_deployment("x", "s3://bucket/model"), "INVALID_PARAMETER_VALUE", "slipway register"),
        (
            lambda: client.create_deployment("x", f"runs:/{champion.run_id}/model"),
            "INVALID_PARAMETER_VALUE",
            "models:/digits/1: pass that",
        ),
        (lambda: client.create_deployment("x", "runs:/abc/model"), "RESOURCE_DOES_NOT_EXIST", "run 'abc'"),
        (lambda: client.create_deployment("x", "models:/digits/1", "keras"), "INVALID_PARAMETER_VALUE", "flavor"),
        (
            lambda: client.create_deployment("x", "models:/digits/1", config={"sevrers": "a"}),
            "INVALID_PARAMETER_VALUE",
            "did you mean 'servers'",
        ),
        (
            lambda: client.create_deployment("x", "models:/digits/1", endpoint="e"),
            "INVALID_PARAMETER_VALUE",
            "endpoint",
        ),
        (lambda: client.predict("trial", {"image": ["x"]}), "INVALID_PARAMETER_VALUE", "'image_bytes'"),
    ):
        with pytest.raises(MlflowException) as caught:
            action()
        assert caught.value.error_code == code, caught.value
        assert said in str(caught.value)


def test_a_model_that_is_live_already_becomes_a_deployment_once(client, champion, registered, monkeypatch):
    registered.published(monkeypatch, champion)
    registered.configured("digits", Wanted(1))
    assert client.create_deployment("digits", "models:/digits@champion")["version"] == 1
    with pytest.raises(MlflowException, match="exists, of models:/digits@champion"):
        client.create_deployment("digits", "models:/digits@champion")


class Died(BaseException):
    """A process that ends here."""


@pytest.mark.parametrize("server", ["embedded"], indirect=True)
@pytest.mark.parametrize(
    "place",
    [
        "pipeline.reconcile.followers.Followers.await_loaded",
        "pipeline.reconcile.followers.Followers.verify",
        "pipeline.reconcile.followers.Followers.await_live",
        "registry.ledger.Ledger.append",
        "pipeline.plugin.deployments.keep_record",
    ],
)
def test_a_create_that_died_halfway_is_finished_by_the_next_one(client, champion, registered, monkeypatch, place):
    def die(*_arguments, **_more):
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr(place, die)
        with pytest.raises(Died):
            client.create_deployment("trial", "models:/digits/1")
    assert client.list_deployments() == []
    assert client.create_deployment("trial", "models:/digits/1")["version"] == 1
    assert labels(client.predict("trial", pixels())) == expected(pixels())
    assert [entry.to_version for entry in registered.ledger.entries("trial")] == [1]


@pytest.mark.parametrize("server", ["embedded"], indirect=True)
def test_of_creates_at_once_one_serves_and_the_others_are_told(client, champion, registered):
    for _ in range(2):
        registered.version()

    def create(version):
        try:
            return get_deploy_client("slipway").create_deployment("trial", f"models:/digits/{version}")["version"]
        except MlflowException as error:
            return error.error_code

    with ThreadPoolExecutor(3) as threads:
        outcomes = list(threads.map(create, (1, 2, 3)))
    made = [each for each in outcomes if isinstance(each, int)]
    assert made
    assert {each for each in outcomes if each not in made} <= {"RESOURCE_CONFLICT", "RESOURCE_ALREADY_EXISTS"}
    assert client.get_deployment("trial")["version"] == registered.ledger.last("trial", "champion").to_version
    assert registered.ledger.verify_chain() == len(registered.ledger.entries())


def test_run_local_serves_until_it_is_stopped_and_leaves_nothing(registered, tmp_path):
    registered.version()
    grpc, rest = free_ports()
    ports = ("-C", f"grpc_port={grpc}", "-C", f"rest_port={rest}", "-C", "runtime=onnxruntime")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    words = ("run-local", "-t", "slipway", "-m", "models:/digits/1", "--name", "trial", *ports)
    process = registered.popen(["mlflow", "deployments", *words], TMPDIR=str(scratch))
    try:
        local = get_deploy_client(f"slipway:grpc://127.0.0.1:{grpc}")
        answered = wait_until(lambda: predicted(local, process), "run-local never answered")
        assert labels(answered) == expected(pixels())
        assert list(scratch.glob("slipway-local-*"))
    finally:
        process.terminate()
    done = registered.finish(process)
    assert done.code == 0, done.err
    assert "Downloading" not in done.err
    assert list(scratch.glob("slipway-local-*")) == []
    assert not registered.base.exists()


def predicted(client, process):
    assert process.poll() is None, process.communicate()
    try:
        return client.predict("trial", pixels())
    except MlflowException:
        return None


@pytest.mark.parametrize("server", ["embedded"], indirect=True)
def test_mlflows_command_line_does_all_of_it_and_says_errors_in_one_line(client, champion, registered, server):
    """create, get, list, predict, update, delete, as a person types them."""
    images = pixels()
    file = registered.folder / "images.json"
    file.write_text(json.dumps([{"input": image.tolist()} for image in images]))
    environment = {
        "SLIPWAY_DEPLOYMENTS_BASE": str(registered.base),
        "SLIPWAY_DEPLOYMENTS_SERVERS": f"grpc://{server.address}",
    }

    def mlflow(*words):
        command = ["mlflow", "deployments", words[0], "-t", "slipway", *words[1:]]
        return registered.finish(registered.popen(command, **environment))

    made = mlflow("create", "-m", "models:/digits@champion", "--name", "digits")
    assert "slipway deployment digits is created" in made.out, made.err
    assert "version: 1" in mlflow("get", "--name", "digits").out
    answered = mlflow("predict", "--name", "digits", "-I", file)
    assert labels(json.loads(answered.out)) == expected(images), answered.err
    again = mlflow("create", "-m", "models:/digits@champion", "--name", "digits")
    assert again.code == 1
    assert again.error.startswith("deployment 'digits' exists")
    assert "Deployment digits is deleted" in mlflow("delete", "--name", "digits").out
