"""The page on TensorFlow Serving's flags and RPCs against the server: what it says there is, is; and nothing else."""

import re
from dataclasses import fields

import grpc
import pytest

from serving.model_server.flags import Flags
from serving.model_server.grpc_api import GrpcApi
from serving.model_server.grpc_server import make_grpc_server
from serving.model_server.load_rules import LoadRules
from serving.model_server.metrics import Metrics
from serving.model_server.metrics_page import metrics_page
from serving.model_server.models import Models
from serving.model_server.unsupported_flags import UNSUPPORTED
from serving.prediction_log.rules import LogCounts
from tests.docs.tables import DOCS, is_our_own, shown
from tests.serving.model_server.fakes import FakeLoads
from tests.serving.model_server.processes import free_ports

PAGE = "tensorflow-serving-compatibility.md"

# The flags of tensorflow_serving/model_servers/main.cc.
THEIRS = re.findall(
    r"\w+",
    """
port grpc_socket_path rest_api_port rest_api_num_threads rest_api_timeout_in_ms rest_api_enable_cors_support
enable_batching allow_version_labels_for_unavailable_models batching_parameters_file
enable_per_model_batching_parameters model_config_file model_config_file_poll_wait_seconds model_name model_base_path
num_load_threads num_unload_threads max_num_load_retries load_retry_interval_micros file_system_poll_wait_seconds
flush_filesystem_caches tensorflow_session_parallelism tensorflow_session_config_file tensorflow_intra_op_parallelism
tensorflow_inter_op_parallelism use_alts_credentials ssl_config_file platform_config_file
per_process_gpu_memory_fraction saved_model_tags grpc_channel_arguments grpc_max_threads enable_model_warmup
num_request_iterations_for_warmup version monitoring_config_file remove_unused_fields_from_bundle_metagraph
prefer_tflite_model num_tflite_pools num_tflite_interpreters_per_pool enable_signature_method_name_check
xla_cpu_compilation_enabled xla_gpu_compilation_enabled enable_profiler thread_pool_factory_config_file mixed_precision
skip_initialize_tpu enable_grpc_healthcheck_service enable_serialization_as_tensor_content
""",
)


def first_column(heading):
    return re.findall(r"^\| `-{0,2}([^`]+)`", shown(PAGE, heading), re.MULTILINE)


def test_each_of_tensorflow_servings_flags_has_a_row_and_a_meaning_or_a_reason():
    assert first_column("Flags") == sorted(THEIRS)
    ours = {flag.name for flag in fields(Flags) if not is_our_own(flag)}
    assert ours | UNSUPPORTED.keys() == set(THEIRS)
    assert not ours & UNSUPPORTED.keys()


def test_each_flag_of_our_own_has_a_row():
    assert first_column("Flags of our own") == [flag.name for flag in fields(Flags) if is_our_own(flag)]


@pytest.fixture(scope="module")
def channel():
    port = free_ports(1)[0]
    server = make_grpc_server(GrpcApi(Models(LoadRules(FakeLoads()))), f"127.0.0.1:{port}", 2)
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    server.stop(None).wait()


@pytest.mark.parametrize(("rpc", "here"), re.findall(r"^\| `(\S+/\S+)` \| (.+) \|$", shown(PAGE, "RPCs"), re.MULTILINE))
def test_each_rpc_is_served_if_the_page_says_so_and_else_unimplemented(channel, rpc, here):
    call = channel.unary_stream(f"/{rpc}")(b"", timeout=10)
    try:
        next(call)
        code = grpc.StatusCode.OK
    except grpc.RpcError as error:
        code = error.code()
    assert (code == grpc.StatusCode.UNIMPLEMENTED) == here.startswith("UNIMPLEMENTED")


def test_each_metric_has_a_row():
    from prometheus_client import CollectorRegistry

    metrics = Metrics()
    metrics.log_counts = lambda: LogCounts(0, 0, 0, 1.0)
    page = metrics_page(metrics, Models(LoadRules(FakeLoads())), CollectorRegistry())().decode()
    on_page = set(re.findall(r"^# TYPE (\S+)", page, re.MULTILINE))
    in_table = set(re.findall(r"^\| `([^`]+)`", shown(PAGE, "Metrics"), re.MULTILINE))
    own = ("process_", "slipway_")  # Slipway's own are in docs/monitoring.md
    assert {name for name in on_page if not name.startswith(own)} == in_table - {"process_*"}


def test_the_servers_page_links_it():
    assert f"({PAGE})" in (DOCS / "model-server.md").read_text(encoding="utf-8")
