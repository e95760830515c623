"""Which values of flags go together; InputError says what was expected."""

from collections.abc import Collection
from pathlib import Path
from urllib.parse import urlsplit

from serving.model_server.flags import LOG_FORMATS, Flags
from serving.model_server.grpc_arguments import parse_channel_arguments
from serving.model_server.runtimes import AUTO, RUNTIMES, runtime_of
from serving.prediction_log.rules import KEPT_INPUTS
from slipway.credentials import without_credentials
from slipway.errors import InputError

_AT_LEAST_ONE = ("rest_api_timeout_in_ms", "max_body_mb", "prediction_log_max_mb", "drain_timeout_seconds")
_NOT_NEGATIVE = (
    "file_system_poll_wait_seconds",
    "model_config_file_poll_wait_seconds",
    "max_num_load_retries",
    "num_load_threads",
    "num_unload_threads",
    "num_request_iterations_for_warmup",
    "rest_api_num_threads",
    "grpc_max_threads",
    "overload_wait_ms",
    "max_connections",
    "tensorflow_session_parallelism",
    "tensorflow_intra_op_parallelism",
    "tensorflow_inter_op_parallelism",
)
_FILES = (
    "model_config_file",
    "monitoring_config_file",
    "ssl_config_file",
    "access_tokens_file",
    "batching_parameters_file",
)
_CLOSING = ("trusted_keys", "access_tokens_file", "ssl_config_file")


def check_flags(flags: Flags, given: Collection[str]) -> None:
    """InputError if a value is out of range, or two flags exclude each other; `given` are those on the command line."""
    if flags.version:
        return
    for name in _AT_LEAST_ONE:
        if getattr(flags, name) < 1:
            raise InputError(f"--{name}={getattr(flags, name)}: expected 1 or more.")
    for name in _NOT_NEGATIVE:
        if getattr(flags, name) < 0:
            raise InputError(f"--{name}={getattr(flags, name)}: expected 0 or more.")
    _check_runtime(flags, given)
    _check_addresses(flags)
    _check_models(flags, given)
    _check_batching(flags)
    _check_tensorflow(flags)
    _check_files(flags, given)
    _check_log(flags, given)
    _check_telling(flags)


def _check_telling(flags: Flags) -> None:
    if flags.log_format not in LOG_FORMATS:
        raise InputError(f"--log_format={flags.log_format}: expected one of {', '.join(LOG_FORMATS)}.")
    if not 0 <= flags.trace_sample <= 1:
        raise InputError(f"--trace_sample={flags.trace_sample:g}: expected a share from 0 to 1.")
    if flags.trace_endpoint and not (
        flags.trace_endpoint.startswith(("http://", "https://")) and urlsplit(flags.trace_endpoint).hostname
    ):
        raise InputError(
            f"--trace_endpoint={without_credentials(flags.trace_endpoint)}: expected the address of an OTLP/HTTP "
            "collector, as http://127.0.0.1:4318."
        )


def _check_files(flags: Flags, given: Collection[str]) -> None:
    for name in _CLOSING:
        if name in given and not getattr(flags, name):
            raise InputError(
                f"--{name}=: is empty, as a variable is that nobody has set; expected a path. Give it, or leave the "
                "flag out if nothing is to be asked for."
            )
    if flags.trusted_keys and not Path(flags.trusted_keys).is_dir():
        raise InputError(f"--trusted_keys={flags.trusted_keys}: no such directory. Give the path of one.")
    for name in _FILES:
        path = getattr(flags, name)
        if path and not Path(path).is_file():
            raise InputError(f"--{name}={path}: no such file. Give the path of one.")


def _check_log(flags: Flags, given: Collection[str]) -> None:
    if not flags.prediction_log and (others := {name for name in given if name.startswith("prediction_log_")}):
        raise InputError(f"--{min(others)} is set without --prediction_log. Add --prediction_log=FOLDER.")
    for name in ("prediction_log_sample", "prediction_log_embed_sample"):
        if not 0 <= getattr(flags, name) <= 1:
            raise InputError(f"--{name}={getattr(flags, name):g}: expected a share from 0 to 1.")
    if flags.prediction_log_days <= 0:
        raise InputError(f"--prediction_log_days={flags.prediction_log_days:g}: expected more than 0.")
    if flags.prediction_log_inputs not in KEPT_INPUTS:
        expected = ", ".join(KEPT_INPUTS)
        raise InputError(f"--prediction_log_inputs={flags.prediction_log_inputs}: expected one of {expected}.")


def _check_runtime(flags: Flags, given: Collection[str]) -> None:
    if flags.runtime not in {*RUNTIMES, AUTO}:
        raise InputError(f"--runtime={flags.runtime}: expected one of {', '.join((*RUNTIMES, AUTO))}.")
    if flags.variant and runtime_of(flags.variant) is None:
        kinds = ", ".join(f"{row.variants}-..." for row in RUNTIMES.values())
        raise InputError(f"--variant={flags.variant}: expected one of {kinds}, as the version's manifest lists them.")
    if flags.variant and "runtime" in given and flags.runtime not in {AUTO, runtime_of(flags.variant)}:
        raise InputError(
            f"--runtime={flags.runtime}: it does not execute --variant={flags.variant}. Leave one of them out."
        )


def _check_addresses(flags: Flags) -> None:
    for name in ("port", "rest_api_port"):
        if not 0 <= getattr(flags, name) <= 65535:
            raise InputError(f"--{name}={getattr(flags, name)}: expected a port from 0 to 65535.")
    if not flags.port and not flags.rest_api_port and not flags.grpc_socket_path:
        raise InputError("--port=0 --rest_api_port=0: nothing to listen on. Give one of them a port.")
    if flags.port == flags.rest_api_port and flags.port:
        raise InputError(f"--port={flags.port}: --rest_api_port is the same. Give one of them another port.")
    if flags.monitoring_config_file and not flags.rest_api_port:
        raise InputError("--monitoring_config_file: metrics are served on the REST port. Give --rest_api_port one.")
    parse_channel_arguments(flags.grpc_channel_arguments)


def _check_models(flags: Flags, given: Collection[str]) -> None:
    if flags.model_config_file:
        if both := {"model_name", "model_base_path"} & set(given):
            raise InputError(
                f"--{min(both)} and --model_config_file: expected one of them. Name the model in the file."
            )
    elif not flags.model_base_path:
        raise InputError("nothing to serve: expected --model_base_path=DIRECTORY or --model_config_file=FILE.")


def _check_batching(flags: Flags) -> None:
    for name in ("batching_parameters_file", "enable_per_model_batching_parameters"):
        if getattr(flags, name) and not flags.enable_batching:
            raise InputError(f"--{name} is set without --enable_batching. Add --enable_batching.")


def _check_tensorflow(flags: Flags) -> None:
    intra, inter = flags.tensorflow_intra_op_parallelism, flags.tensorflow_inter_op_parallelism
    if flags.tensorflow_session_parallelism and (intra or inter):
        raise InputError(
            "--tensorflow_session_parallelism sets both of --tensorflow_intra_op_parallelism and "
            "--tensorflow_inter_op_parallelism. Give either it or those."
        )
    if not all(tag.strip() for tag in flags.saved_model_tags.split(",")):
        raise InputError(f"--saved_model_tags={flags.saved_model_tags}: expected tags with commas between, as 'serve'.")
