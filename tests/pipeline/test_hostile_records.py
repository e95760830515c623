"""What lies in MLflow, in a base path or in a user's file may be anything: it is read, or refused in a line."""

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.config import config_from_json
from pipeline.plugin.model_uri import resolve
from pipeline.plugin.records import read_records
from pipeline.rollout.labels import as_sent, published_names, read_labels
from registry.evaluation import OWN_SPLIT_TAG, load_evaluation
from serving.client.observations import TrueLabel
from serving.request_ids import new_request_id
from serving.stores import open_store
from slipway.errors import InputError, IntegrityError, NotFoundError

DOCUMENTS = {
    "empty": b"",
    "text": b"no JSON",
    "latin": b"\xff",
    "null": b"null",
    "list": b"[1, {}]",
    "object": b"{}",
    "deep": b"[" * 100_000,
    "other": b'{"rules": [{}], "deployments": 3, "data": [], "train": 5, "format": {}, "name": ["x"]}',
    "large": b'{"data": {"split_seed": 1%s}}' % (b"0" * 5000),
}
hostile = pytest.mark.parametrize("document", DOCUMENTS.values(), ids=DOCUMENTS)


@hostile
def test_a_logged_configuration_that_is_none_is_refused_with_its_run(document):
    with suppress(InputError):
        config_from_json(document.decode("latin-1"), "run 1: config.json")
        assert document == b"{}"


@hostile
def test_a_record_of_deployments_that_is_none_is_refused(tmp_path, document):
    (tmp_path / "deployments.json").write_bytes(document)
    with pytest.raises(InputError, match=r"deployments\.json: no record of deployments"):
        read_records(open_store(str(tmp_path)))


@hostile
def test_class_names_in_a_base_path_that_are_none_are_refused(tmp_path, document):
    file = tmp_path / "digits/1/assets.extra/slipway/labels.json"
    file.parent.mkdir(parents=True)
    file.write_bytes(document)
    try:
        names = published_names(str(tmp_path), "digits")(1)
    except IntegrityError as error:
        said = str(error)
        assert said.startswith(f"{tmp_path}: digits version 1: labels.json is no list of classes")
    else:
        assert all(isinstance(name, str) for name in names)


@hostile
def test_a_run_whose_artifacts_somebody_replaced_is_traced_as_far_as_it_goes(registered, monkeypatch, document):
    version = registered.version()
    registered.made_live(version)
    for path in ("config.json", "gate/digits-1.json"):
        registered.registry.log_artifact_bytes(version.run_id, path, document)
    for form in ((), ("--json",)):
        done = registered.call(monkeypatch, "trace", "1", "--name", "digits", *form)
        assert done.code == 0, done.err
        assert "where the images came from is not recorded" in done.out
        assert "gate report: what its run has is none" in done.out


@hostile
def test_an_evaluation_that_somebody_replaced_is_refused(registered, document):
    version = registered.version()
    registered.registry.set_run_tag(version.run_id, OWN_SPLIT_TAG, "5" * 64)
    for file in ("evaluation.json", "predictions.npz"):
        registered.registry.log_artifact_bytes(version.run_id, f"evaluation/{'5' * 12}/{file}", document)
    with pytest.raises(IntegrityError, match="Evaluate the run again"):
        load_evaluation(registered.registry, version.run_id)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.text(max_size=40)
    | st.builds(
        "models:/{}{}".format,
        st.sampled_from(["digits", "", "..", "a/b", "digits'", "d" * 200]),
        st.sampled_from(
            ["", "@champion", "@'", "@latest", "/1", "/0", "/" + "9" * 5000, "/\u0661", "/Production", "/x"]
        ),
    )
    | st.builds("runs:/{}/model".format, st.text(max_size=40))
)
def test_whatever_is_given_for_a_model_uri_names_a_version_or_is_refused(registered_once, uri):
    with suppress(InputError, NotFoundError):
        assert resolve(registered_once.registry, uri).name == "digits"


@pytest.fixture(scope="module")
def registered_once(empty_store, tmp_path_factory):
    import shutil

    from tests.pipeline.registered_world import RegisteredWorld

    folder = tmp_path_factory.mktemp("uris")
    shutil.copy(empty_store, folder / "mlflow.db")
    world = RegisteredWorld(folder)
    world.version()
    return world


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(max_size=80)
    | st.text('request_id,label"\n\r\0 1', max_size=80).map(str.encode)
    | st.lists(st.tuples(st.sampled_from([new_request_id(1, "none"), "x", ""]), st.text(max_size=9))).map(
        lambda rows: ("request_id,label\n" + "".join(f"{a},{b}\n" for a, b in rows)).encode("utf-8", "surrogatepass")
    )
)
def test_whatever_is_in_a_file_of_labels_is_labels_or_refused_by_the_file_s_name(tmp_path, content):
    file = Path(tmp_path, "labels.csv")
    file.write_bytes(content)
    try:
        labels = read_labels(file)
    except InputError as error:
        said = str(error)
        assert str(file) in said
    else:
        as_sent(labels, lambda _version: frozenset())


def test_a_label_of_thousands_of_digits_is_a_name_and_no_number():
    item = TrueLabel(new_request_id(1, "none"), ("9" * 5000, "7"))
    (sent,) = as_sent([item], lambda _version: frozenset())
    assert sent.labels == ("9" * 5000, 7)
