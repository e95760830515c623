"""What the deployments target reads: tables, settings, its own record; and how its errors look."""

import base64

import click
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.exceptions import MlflowException

from pipeline.plugin import target_help
from pipeline.plugin.errors import as_mlflow
from pipeline.plugin.inputs import read_inputs, to_instances, to_rows
from pipeline.plugin.records import Record, keep_record, read_records
from pipeline.plugin.settings import _KEYS, read_settings
from serving.stores import open_store
from slipway.errors import ConflictError, InputError, IntegrityError, NotFoundError, UnavailableError

FILES = st.lists(st.binary(min_size=1, max_size=20), min_size=1, max_size=4)


@given(FILES)
def test_encoded_images_are_the_same_bytes_however_they_are_wrapped(files):
    encoded = [base64.b64encode(file).decode() for file in files]
    records = [{"image_bytes": each} for each in encoded]
    for inputs in (
        pd.DataFrame({"image_bytes": encoded}),
        pd.DataFrame({"dataframe_records": records}),
        {"dataframe_records": records},
        {"instances": [{"image_bytes": {"b64": each}} for each in encoded]},
        {"image_bytes": encoded},
        records,
        [{"image_bytes": file} for file in files],
        [{**record, "input": None} for record in records],
    ):
        request = read_inputs(inputs)
        assert (request.signature, request.name, list(request.column)) == ("serving_bytes", "image_bytes", files)
    assert [base64.b64decode(row["image_bytes"]["b64"]) for row in to_instances(request)] == files


@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4))
def test_pixels_are_one_array_however_they_are_wrapped(count, height, width):
    pixels = np.random.default_rng(0).integers(0, 256, (count, height, width, 3)).astype(np.float32)
    rows = pixels.tolist()
    for inputs in (
        pixels,
        rows,
        {"inputs": rows},
        {"instances": [{"input": row} for row in rows]},
        pd.DataFrame({"input": rows}),
        {"input": rows},
    ):
        request = read_inputs(inputs)
        assert (request.signature, request.name, request.column.dtype) == ("serving_default", "input", np.float32)
        np.testing.assert_array_equal(request.column, pixels)
    assert [row["input"] for row in to_instances(request)] == rows


@pytest.mark.parametrize(
    "inputs",
    [
        None,
        "text",
        {},
        [],
        {"image": ["a"]},
        {"input": [], "image_bytes": []},
        {"input": [[[[1, 2, 3]]]], "image_bytes": ["YQ=="]},
        {"image_bytes": ["no base64!"]},
        {"image_bytes": [3]},
        {"input": [[1, 2, 3]]},
        {"input": [[[[1, 2, 3]]], [[[1, 2, 3], [4, 5, 6]]]]},
        {"input": [[[["a", "b", "c"]]]]},
        {"input": [[[[1, 2, 3]]]], "extra": [1]},
    ],
)
def test_what_is_no_table_of_images_is_refused_and_the_columns_are_named(inputs):
    with pytest.raises(InputError, match=r"'input'.*'image_bytes'"):
        read_inputs(inputs)


def test_an_answer_over_grpc_becomes_rows_of_plain_values():
    outputs = {
        "label": np.array([b"cat", b"dog"], object),
        "class_id": np.array([0, 1]),
        "output": np.array([[1.0, 0.0], [0.25, 0.75]], np.float32),
    }
    assert to_rows(outputs) == [
        {"label": "cat", "class_id": 0, "output": [1.0, 0.0]},
        {"label": "dog", "class_id": 1, "output": [0.25, 0.75]},
    ]


def test_options_stand_above_the_target_and_that_above_environment_and_file(tmp_path, monkeypatch):
    file = tmp_path / "slipway.yaml"
    file.write_text("base: of-file\nreconcile:\n  servers: grpc://file:1\n  load_timeout_s: 7\n")

    def settings(target="slipway", **options):
        found = read_settings(target, {"config": str(file), **options})
        return found.config.base, found.config.reconcile.servers, found.config.reconcile.load_timeout_s, found.rest

    assert settings() == ("of-file", "grpc://file:1", 7, None)
    monkeypatch.setenv("SLIPWAY_DEPLOYMENTS_SERVERS", "grpc://environment:1")
    monkeypatch.setenv("SLIPWAY_DEPLOYMENTS_BASE", "of-environment")
    assert settings() == ("of-environment", "grpc://environment:1", 7, None)
    assert settings("slipway:grpc://a:1,grpc://b:2")[1] == "grpc://a:1,grpc://b:2"
    assert settings("slipway:http://a:1")[1:] == ("grpc://environment:1", 7, "http://a:1")
    options = {"base": "of-option", "servers": "grpc://option:1", "load_timeout_s": "9"}
    assert settings("slipway:grpc://a:1", **options) == ("of-option", "grpc://option:1", 9, None)


@pytest.mark.parametrize(
    ("target", "options", "said"),
    [
        ("slipway", {"bass": "x"}, "did you mean 'base'"),
        ("slipway", {"zzz": "x"}, "expected one of config, base"),
        ("slipway", {"load_timeout_s": "long"}, "expected a number"),
        ("slipway", {"rest_port": "x"}, "expected a number"),
        ("slipway", {"force": "maybe"}, "expected true or false"),
        ("slipway", {"servers": "http://a:8501"}, "no gRPC address"),
        ("slipway://a:8500", {}, "slipway:grpc://HOST:8500"),
        ("slipway:ftp://a", {}, "slipway:grpc://HOST:8500"),
        ("slipway:http://a:1,http://b:1", {}, "one may be http"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_and_says_what_would(target, options, said):
    with pytest.raises(InputError, match=said.replace("(", r"\(")):
        read_settings(target, options)


def test_help_names_every_option():
    assert [key for key in _KEYS if key not in target_help()] == []


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NotFoundError("gone"), "RESOURCE_DOES_NOT_EXIST"),
        (InputError("wrong"), "INVALID_PARAMETER_VALUE"),
        (ConflictError("busy"), "RESOURCE_CONFLICT"),
        (UnavailableError("away"), "TEMPORARILY_UNAVAILABLE"),
        (IntegrityError("damaged"), "INTERNAL_ERROR"),
    ],
)
def test_an_error_is_mlflows_to_a_caller_and_one_line_to_a_person(error, code, capsys):
    with pytest.raises(MlflowException) as caught, as_mlflow(None, None):
        raise error
    assert (caught.value.error_code, caught.value.message) == (code, str(error))
    assert isinstance(caught.value, click.ClickException)
    caught.value.show()
    assert capsys.readouterr().err == f"Error: {error}\n"


def test_a_fault_of_ours_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError), as_mlflow(None, None):
        raise ZeroDivisionError


NAMES = st.sampled_from(["a", "b", "c"])


@given(changes=st.lists(st.tuples(NAMES, st.none() | st.text(max_size=5)), max_size=8))
def test_the_record_holds_what_was_last_kept_of_each_name(tmp_path_factory, changes):
    store = open_store(str(tmp_path_factory.mktemp("base")))
    wanted = {}
    for name, uri in changes:
        record = None if uri is None else Record(uri, "digits")
        keep_record(store, name, record)
        wanted[name] = record
    assert read_records(store) == {name: record for name, record in wanted.items() if record is not None}


@pytest.mark.parametrize("content", ["no json", "[]", '{"deployments": {"a": 1}}', '{"deployments": {"a": {}}}'])
def test_a_record_that_is_none_of_ours_is_refused_by_name(tmp_path, content):
    (tmp_path / "deployments.json").write_text(content)
    with pytest.raises(InputError, match=r"deployments\.json: no record of deployments"):
        read_records(open_store(str(tmp_path)))
