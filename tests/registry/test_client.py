import http.server
import os
import socket
import subprocess
import sys
import threading
import time

import pytest

from registry.client import NewVersion, RegisteredModel, Registry
from registry.mlflow_errors import mlflow_errors
from slipway.credentials import without_credentials
from slipway.errors import InputError, NotFoundError, SlipwayError, UnavailableError
from tests.registry.large_registry import fill


def test_a_created_version_is_read_back_with_what_it_was_created_from(world):
    created = world.version("digits", tags={"slipway.parity": "1e-7"})
    found = world.registry.version("digits", 1)
    assert found == created
    assert (found.name, found.version, found.stage, found.aliases) == ("digits", 1, "None", ())
    assert found.tags == {"slipway.parity": "1e-7"}
    assert found.source == f"models:/{found.model_id}"
    assert found.description == "a description"
    assert abs(found.created_ms / 1000 - time.time()) < 600


def test_versions_are_listed_by_number_with_their_aliases(world):
    for _ in range(11):
        world.version("digits")
    world.registry.set_alias("digits", "champion", 10)
    world.registry.set_alias("digits", "best-so-far", 10)
    versions = world.registry.versions("digits")
    assert [version.version for version in versions] == list(range(1, 12))
    assert versions[9].aliases == ("best-so-far", "champion")


def test_a_model_whose_name_begins_like_anothers_keeps_its_versions_apart(world):
    world.version("digits")
    world.version("digits-2")
    assert len(world.registry.versions("digits")) == 1


def test_an_alias_moves_to_another_version_and_goes_when_it_is_deleted(world):
    world.version("digits")
    world.version("digits")
    world.registry.set_alias("digits", "champion", 1)
    world.registry.set_alias("digits", "champion", 2)
    assert world.registry.aliases("digits") == {"champion": 2}
    assert world.registry.by_alias("digits", "champion").version == 2
    world.registry.delete_alias("digits", "champion")
    world.registry.delete_alias("digits", "champion")
    assert world.registry.by_alias("digits", "champion") is None


def test_a_stage_is_set_without_a_warning(world, recwarn):
    world.version("digits")
    world.registry.set_stage("digits", 1, "Production")
    assert world.registry.version("digits", 1).stage == "Production"
    assert not [each for each in recwarn if issubclass(each.category, FutureWarning)]


def test_tags_are_added_and_replaced(world):
    world.version("digits", tags={"a": "1"})
    world.registry.set_tags("digits", 1, {"a": "2", "slipway.gate": "passed"})
    assert world.registry.version("digits", 1).tags == {"a": "2", "slipway.gate": "passed"}


def test_what_does_not_exist_is_named_together_with_what_does(world):
    world.version("digits")
    world.version("digits")
    world.registry.set_alias("digits", "champion", 2)
    with pytest.raises(NotFoundError, match=r"'letters' does not exist.*there is digits"):
        world.registry.versions("letters")
    with pytest.raises(NotFoundError, match=r"no version 7; it has 1, 2"):
        world.registry.version("digits", 7)
    with pytest.raises(NotFoundError, match=r"no alias 'challenger'; it has champion \(version 2\)"):
        world.registry.require_alias("digits", "challenger")
    with pytest.raises(NotFoundError, match=r"no version 7"):
        world.registry.set_alias("digits", "champion", 7)
    run_id = world.run()
    with pytest.raises(NotFoundError, match=rf"run 'nope' does not exist.*{run_id}"):
        world.registry.run_tags("nope")
    with pytest.raises(NotFoundError, match=rf"run {run_id} has no artifact a/b\.txt"):
        world.registry.read_artifact(run_id, "a/b.txt")


def test_a_model_is_its_aliases_its_stages_and_its_tags(world):
    for _ in range(3):
        world.version("digits")
    assert world.registry.model("digits") == RegisteredModel("digits", {}, {}, {})
    world.registry.set_alias("digits", "champion", 1)
    world.registry.set_stage("digits", 1, "Production")
    world.registry.set_stage("digits", 2, "Staging")
    world.registry.tag_model("digits", {"slipway.serving": "true"})
    assert world.registry.model("digits") == RegisteredModel(
        "digits", {"champion": 1}, {"Production": 1, "Staging": 2}, {"slipway.serving": "true"}
    )


def test_of_several_versions_in_a_stage_the_one_that_came_is_meant(world):
    """As MLflow's older UI leaves them: it archives the former one only when it is told to."""
    for _ in range(25):
        world.version("digits")
    world.registry.set_alias("digits", "champion", 24)
    for version in (24, 3, 5):
        world.registry.set_stage("digits", version, "Production")
    assert world.registry.model("digits").stages == {"Production": 5}
    world.registry.set_description("digits", 24, "changed after all of them")
    assert world.registry.model("digits").stages == {"Production": 5}


def test_a_version_that_came_to_a_stage_is_found_behind_any_number_of_later_changes(world):
    for _ in range(45):
        world.version("digits")
    world.registry.set_alias("digits", "champion", 44)
    for version in (44, 3):
        world.registry.set_stage("digits", version, "Production")
    for version in range(4, 44):
        world.registry.set_description("digits", version, "changed later")
    assert world.registry.model("digits").stages == {"Production": 3}


def test_served_are_the_models_with_the_tag_and_those_named_that_exist(world):
    for name in ("digits", "letters", "other", "signs"):
        world.version(name)
    world.registry.tag_model("letters", {"slipway.serving": "true"})
    world.registry.tag_model("other", {"slipway.serving": "false"})
    world.registry.set_alias("digits", "champion", 1)
    served = world.registry.served_models(also=["digits", "letters", "nowhere"])
    assert [(model.name, model.aliases) for model in served] == [("digits", {"champion": 1}), ("letters", {})]
    assert [model.name for model in world.registry.served_models()] == ["letters"]


def test_a_model_of_an_odd_name_keeps_no_other_from_being_served(world):
    world.version("digits")
    for name in ("it's", "a \" and a '", "two words"):
        world.mlflow.create_registered_model(name)
        world.mlflow.create_model_version(name, "s3://bucket/model")
        world.mlflow.transition_model_version_stage(name, "1", "Production")
        world.mlflow.set_registered_model_tag(name, "slipway.serving", "true")
    assert world.registry.served_models() == ()
    world.registry.tag_model("digits", {"slipway.serving": "true"})
    assert [model.name for model in world.registry.served_models()] == ["digits"]


@pytest.mark.integration
def test_twenty_served_among_a_thousand_models_of_a_hundred_versions_are_read_within_two_seconds(world):
    names = fill(world.folder / "mlflow.db", models=1000, versions=100, served=20)
    began = time.perf_counter()
    served = world.registry.served_models(also=["model-0999"])
    took_s = time.perf_counter() - began
    assert [model.name for model in served] == [*names, "model-0999"]
    assert {tuple(model.stages.items()) for model in served} == {(("Production", 99),)}
    assert took_s < 2


def test_tags_of_a_version_are_taken_away_and_missing_ones_passed_over(world):
    world.version("digits", tags={"a": "1", "b": "2"})
    world.registry.delete_tags("digits", 1, ["a", "c"])
    assert world.registry.version("digits", 1).tags == {"b": "2"}


def test_a_description_is_replaced(world):
    world.version("digits")
    world.registry.set_description("digits", 1, "other words")
    assert world.registry.version("digits", 1).description == "other words"


@pytest.mark.parametrize(
    "ask",
    [
        lambda registry: registry.versions("../x"),
        lambda registry: registry.version("digits", 0),
        lambda registry: registry.by_alias("digits", "latest"),
        lambda registry: registry.set_stage("digits", 1, "Live"),
    ],
)
def test_names_that_cannot_be_are_input_errors(world, ask):
    world.version("digits")
    with pytest.raises(InputError):
        ask(world.registry)


def test_a_source_that_does_not_exist_makes_no_version(world):
    run_id = world.run()
    with pytest.raises(NotFoundError, match="m-nope"):
        world.registry.create_version(NewVersion("digits", "models:/m-nope", run_id, {}, ""))
    with pytest.raises(NotFoundError, match="'digits' does not exist"):
        world.registry.versions("digits")


def test_artifacts_of_a_version_are_copied_never_handed_out(world, tmp_path):
    version = world.version("digits", {"servable/labels.json": b"[]", "servable/golden/golden.npz": b"npz", "x": b"1"})
    copied = world.registry.download(version, "servable", tmp_path / "out")
    assert copied == tmp_path / "out" / "servable"
    assert (copied / "golden" / "golden.npz").read_bytes() == b"npz"
    assert not (tmp_path / "out" / "x").exists()
    (copied / "labels.json").write_bytes(b"changed")
    assert world.registry.download(version, "servable/labels.json", tmp_path / "again").read_bytes() == b"[]"
    whole = world.registry.download(version, "", tmp_path / "whole")
    assert (whole / "x").read_bytes() == b"1"


def test_an_artifact_that_a_version_does_not_have_is_named_with_what_it_has(world, tmp_path):
    version = world.version("digits", {"servable/labels.json": b"[]"})
    with pytest.raises(NotFoundError, match=r"servable/nope of digits version 1.*there is servable/labels\.json"):
        world.registry.download(version, "servable/nope", tmp_path)


def test_a_version_made_from_a_runs_artifacts_is_copied_too(world, tmp_path):
    run_id = world.run()
    world.registry.log_artifact_bytes(run_id, "model/servable/labels.json", b"[]")
    version = world.registry.create_version(NewVersion("digits", f"runs:/{run_id}/model", run_id, {}, ""))
    assert (world.registry.download(version, "servable", tmp_path) / "labels.json").read_bytes() == b"[]"
    assert (world.registry.local_directory(version) / "servable" / "labels.json").read_bytes() == b"[]"


def test_the_local_directory_of_a_version_holds_its_artifacts(world):
    version = world.version("digits", {"servable/labels.json": b"[]"})
    assert (world.registry.local_directory(version) / "servable" / "labels.json").read_bytes() == b"[]"


def test_a_version_whose_artifacts_are_elsewhere_has_no_local_directory(world):
    version = world.registry.create_version(NewVersion("digits", "s3://bucket/model", world.run(), {}, ""))
    assert world.registry.local_directory(version) is None


def test_an_s3_store_that_does_not_answer_is_unavailable_and_named(world, monkeypatch, tmp_path):
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)  # it may have been made with another environment
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    version = world.registry.create_version(NewVersion("digits", "s3://bucket/model", world.run(), {}, ""))
    with pytest.raises(UnavailableError, match=r"servable of digits version 1.*127\.0\.0\.1:1.*S3_ENDPOINT") as failure:
        world.registry.download(version, "servable", tmp_path / "out")
    assert "s3cret" not in str(failure.value)


def test_an_s3_store_without_credentials_is_an_input_error_that_says_which():
    from botocore.exceptions import NoCredentialsError

    with pytest.raises(InputError, match=r"model of digits: .*AWS_ACCESS_KEY_ID"), mlflow_errors("model of digits"):
        raise NoCredentialsError


@pytest.mark.parametrize(("code", "kind"), [("AccessDenied", InputError), ("SlowDown", UnavailableError)])
def test_a_refusal_by_s3_is_told_by_its_code(code, kind):
    from botocore.exceptions import ClientError

    with pytest.raises(kind, match=f"model of digits: .*{code}"), mlflow_errors("model of digits"):
        raise ClientError({"Error": {"Code": code, "Message": "no"}}, "GetObject")


def test_a_database_that_others_write_to_says_what_else_there_is():
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE

    with pytest.raises(UnavailableError, match=r"run r: database is locked\. .*PostgreSQL"), mlflow_errors("run r"):
        raise MlflowException("database is locked", error_code=TEMPORARILY_UNAVAILABLE)


def test_an_artifact_of_a_run_is_read_back_and_replaced(world):
    run_id = world.run()
    for data in (b"\x00first", b"second"):
        world.registry.log_artifact_bytes(run_id, "a/b/c.bin", data)
        assert world.registry.read_artifact(run_id, "a/b/c.bin") == data


def test_a_server_that_does_not_listen_is_unavailable_within_seconds_and_named():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        begun = time.monotonic()
        with pytest.raises(UnavailableError) as failure:
            Registry(f"http://user:secret@{address}")
    assert time.monotonic() - begun < 8
    assert address in str(failure.value)
    assert "MLFLOW_TRACKING_URI" in str(failure.value)
    assert "secret" not in str(failure.value)
    assert "\n" not in str(failure.value)


def test_a_server_that_accepts_and_never_answers_is_unavailable_within_seconds():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        begun = time.monotonic()
        with pytest.raises(UnavailableError, match="within 5 s"):
            Registry(f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert time.monotonic() - begun < 12


class _Overloaded(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_error(503)

    def log_message(self, *_):
        pass


def test_a_server_that_answers_with_failure_is_unavailable():
    server = http.server.HTTPServer(("127.0.0.1", 0), _Overloaded)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with pytest.raises(UnavailableError, match="HTTP 503"):
            Registry(f"http://127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
        server.server_close()


def test_a_file_that_is_no_database_is_unavailable_within_seconds(tmp_path):
    (tmp_path / "mlflow.db").write_bytes(b"not a database, but long enough to be looked at" * 100)
    begun = time.monotonic()
    with pytest.raises(UnavailableError, match="expected an SQLite file"):
        Registry(f"sqlite:///{tmp_path}/mlflow.db")
    assert time.monotonic() - begun < 8


@pytest.mark.parametrize("uri", ["gopher://x", "./mlruns"])
def test_an_address_that_mlflow_cannot_use_is_an_input_error(uri):
    with pytest.raises(InputError):
        Registry(uri)


def test_credentials_leave_no_trace_in_messages_and_reprs(world):
    text = "postgresql://user:pass@host/db and http://u:p@x:5000/a\nsecond line"
    assert without_credentials(text) == "postgresql://host/db and http://x:5000/a second line"
    assert repr(world.registry).startswith("Registry('sqlite:///")


class _Failing(http.server.BaseHTTPRequestHandler):
    """Healthy to look at; every question ends in an internal error."""

    def do_GET(self):
        if self.path == "/health":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"OK")
        else:
            self.send_error(500)

    def log_message(self, *_):
        pass


@pytest.fixture
def failing_server():
    server = http.server.HTTPServer(("127.0.0.1", 0), _Failing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_server_that_fails_at_every_question_is_reported_in_seconds_and_leaves_the_retries_as_they_were(
    failing_server, monkeypatch
):
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", raising=False)
    begun = time.monotonic()
    with pytest.raises(SlipwayError):
        Registry(failing_server).versions("digits")
    assert time.monotonic() - begun < 20
    assert "MLFLOW_HTTP_REQUEST_MAX_RETRIES" not in os.environ


def test_the_registrys_modules_import_neither_mlflow_nor_a_database_until_they_are_used():
    modules = ("card", "client", "evaluation", "gate", "history", "lease", "ledger", "policy", "promote", "register")
    code = f"""
import sys
{"; ".join(f"import registry.{module}" for module in modules)}
print([name for name in ("mlflow", "sqlalchemy", "scipy", "pandas", "botocore") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
