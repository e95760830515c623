"""The command line."""

import re
import subprocess
import sys
import time
from dataclasses import fields

import pytest

from serving.model_server.flag_parsing import help_text, parse_flags
from serving.model_server.flags import Flags
from serving.model_server.unsupported_flags import UNSUPPORTED
from slipway.errors import InputError

BASE = "--model_base_path=/models/m"


def test_defaults_are_tensorflow_servings_with_rest_on_its_usual_port():
    flags = parse_flags([BASE])
    assert (flags.port, flags.rest_api_port, flags.model_name) == (8500, 8501, "default")
    assert (flags.file_system_poll_wait_seconds, flags.rest_api_timeout_in_ms) == (1, 30000)
    assert flags.enable_model_warmup
    assert not flags.default_label


@pytest.mark.parametrize("arguments", [["--port=99"], ["--port", "99"], ["-port=99"]])
def test_a_value_stands_after_an_equals_sign_or_a_space(arguments):
    assert parse_flags([BASE, *arguments]).port == 99


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--enable_model_warmup"], True),
        (["--enable_model_warmup=false"], False),
        (["--enable_model_warmup", "false"], False),
        (["--enable_model_warmup=TRUE"], True),
        (["--enable_model_warmup", "--port=1"], True),
    ],
)
def test_a_boolean_needs_no_value(arguments, expected):
    assert parse_flags([BASE, *arguments]).enable_model_warmup is expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--prot=1"], r"unknown flag '--prot'; did you mean --port\? Known: --port, --grpc_socket_path"),
        (["--nothing_like_it"], r"unknown flag '--nothing_like_it'\. Known:"),
        (["stray"], "unknown flag 'stray'"),
        (["--port=many"], "--port=many: expected a whole number"),
        (["--port"], "--port: expected a value after it"),
        (["--port=70000"], "--port=70000: expected a port from 0 to 65535"),
        (["--port=0", "--rest_api_port=0"], "nothing to listen on"),
        (["--port=7", "--rest_api_port=7"], "--rest_api_port is the same"),
        (["--enable_model_warmup=maybe"], "expected true or false"),
        (["--max_body_mb=0"], "--max_body_mb=0: expected 1 or more"),
        (["--file_system_poll_wait_seconds=-1"], "expected 0 or more"),
        (["--runtime=abacus"], "--runtime=abacus: expected one of tensorflow"),
        (["--model_config_file=/none"], "--model_base_path and --model_config_file: expected one of them"),
    ],
)
def test_a_mistake_is_refused_with_what_was_expected(arguments, message):
    with pytest.raises(InputError, match=message):
        parse_flags([BASE, *arguments])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--per_process_gpu_memory_fraction=0.5"], "not supported: this server runs models on the CPU"),
        (["--platform_config_file=x"], "not supported: .* Write model_platform into --model_config_file"),
        (["--use_alts_credentials"], "not supported: .* Use --ssl_config_file"),
        (["--enable_profiler"], "--enable_profiler: not supported: there is no profiler service"),
        (["--xla_cpu_compilation_enabled=false"], "a graph that asks for XLA is compiled by it"),
        (["--grpc_channel_arguments=a"], "expected key=value"),
        (["--batching_parameters_file=/x"], "is set without --enable_batching"),
        (["--enable_per_model_batching_parameters"], "is set without --enable_batching"),
        (["--enable_batching", "--batching_parameters_file=/none"], "no such file"),
        (["--tensorflow_session_parallelism=1", "--tensorflow_intra_op_parallelism=1"], "Give either it or those"),
        (["--saved_model_tags=serve,"], "expected tags with commas between"),
        (["--num_load_threads=-1"], "expected 0 or more"),
        (["--rest_api_port=0", "--monitoring_config_file=/x"], "metrics are served on the REST port"),
    ],
)
def test_what_cannot_be_done_says_why_and_what_to_do(arguments, message):
    with pytest.raises(InputError, match=message):
        parse_flags([BASE, *arguments])


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_an_unsupported_flag_is_taken_when_it_says_what_is_so_anyway(name):
    same = UNSUPPORTED[name].same_as_here
    assert parse_flags([BASE, f"--{name}={same}"]) == parse_flags([BASE])


@pytest.mark.parametrize("name", ["trusted_keys", "access_tokens_file", "ssl_config_file"])
def test_a_flag_that_closes_a_door_is_not_empty(name):
    for arguments in ([f"--{name}="], [f"--{name}", ""]):
        with pytest.raises(InputError, match=rf"--{name}=: is empty.*expected a path"):
            parse_flags([BASE, *arguments])


def test_a_unix_socket_is_enough_to_listen_on():
    assert parse_flags([BASE, "--port=0", "--rest_api_port=0", "--grpc_socket_path=s"]).grpc_socket_path == "s"


def test_something_to_serve_must_be_given():
    with pytest.raises(InputError, match="nothing to serve: expected --model_base_path=DIRECTORY"):
        parse_flags([])
    with pytest.raises(InputError, match="--model_config_file=/none: no such file"):
        parse_flags(["--model_config_file=/none"])


def test_help_shows_every_flag_with_its_default():
    for flag in fields(Flags):
        assert f"--{flag.name}=" in help_text()
        assert flag.metadata["help"] in help_text()


def run(*arguments):
    command = [sys.executable, "-X", "importtime", "-m", "serving.model_server", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_help_imports_neither_tensorflow_nor_grpc_nor_a_web_server():
    done = run("--help")
    assert done.returncode == 0
    assert "--rest_api_port=8501" in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "serving.model_server.flags" in imported
    assert not imported & {"tensorflow", "mlflow", "grpc", "uvicorn", "numpy", "google.protobuf"}


def test_help_comes_within_half_a_second():
    took_s = []
    for _ in range(3):
        start = time.monotonic()
        subprocess.run([sys.executable, "-m", "serving.model_server", "--help"], capture_output=True, check=True)
        took_s.append(time.monotonic() - start)
    assert min(took_s) < 0.5


def test_a_mistake_is_one_line_and_exit_code_2():
    done = subprocess.run(
        [sys.executable, "-m", "serving.model_server", "--prot=1"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: unknown flag '--prot'")
    assert done.stderr.count("\n") == 1


def test_version_names_the_server_and_what_is_installed_and_imports_nothing():
    done = run("--version")
    assert done.returncode == 0
    assert re.match(r"slipway \d+\.\d+", done.stdout)
    assert "onnxruntime 1." in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not imported & {"tensorflow", "onnxruntime", "openvino", "grpc"}
