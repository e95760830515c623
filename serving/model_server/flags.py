"""What can be set on the command line: TensorFlow Serving's flags by their names, and a few of our own."""

import typing
from dataclasses import dataclass, field

from serving.model_server.runtimes import AUTO, RUNTIMES

JSON = "json"
LOG_FORMATS = ("text", JSON)


def _flag(default: str | float | bool, text: str) -> typing.Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class Flags:
    """Each field is a flag; its default is the flag's."""

    port: int = _flag(8500, "TCP port for gRPC; 0 leaves it out.")
    grpc_socket_path: str = _flag("", "Unix socket for gRPC, beside --port.")
    grpc_channel_arguments: str = _flag("", "gRPC's own settings: key=value, with commas between.")
    grpc_max_threads: int = _flag(0, "Threads for gRPC calls; 0 is four for each core.")
    enable_grpc_healthcheck_service: bool = _flag(True, "Serve grpc.health.v1.Health.")
    enable_serialization_as_tensor_content: bool = _flag(
        False, "Answer Predict with tensor_content instead of typed fields; strings keep theirs."
    )
    ssl_config_file: str = _flag("", "SSLConfig, as text: gRPC and REST over TLS; looked at each second.")
    rest_api_port: int = _flag(8501, "TCP port for REST; 0 leaves it out.")
    rest_api_num_threads: int = _flag(0, "Threads for REST requests; 0 is four for each core.")
    rest_api_timeout_in_ms: int = _flag(30000, "Longest time a REST request may take; then it is answered 504.")
    rest_api_enable_cors_support: bool = _flag(False, "Let web pages of other origins use REST.")
    monitoring_config_file: str = _flag("", "MonitoringConfig, as text: metrics for Prometheus on the REST port.")
    model_name: str = _flag("default", "Name of the model; not with --model_config_file.")
    model_base_path: str = _flag("", "Directory with the model's version directories; not with --model_config_file.")
    file_system_poll_wait_seconds: int = _flag(1, "Seconds between looks for new versions; 0 looks once.")
    flush_filesystem_caches: bool = _flag(
        True, "Nothing is cached for files in local directories, so there is nothing to flush; TensorFlow's own too."
    )
    model_config_file: str = _flag("", "ModelServerConfig, as text: several models, version policies, labels.")
    model_config_file_poll_wait_seconds: float = _flag(
        0.0, "Seconds between looks at that file, or a fraction of one; 0 looks once."
    )
    traffic_config_file: str = _flag(
        "",
        "Slipway's: how requests that name no version are split between stable version and canary, as JSON; looked at "
        "as often as --model_config_file. It may be missing.",
    )
    page: bool = _flag(True, "Slipway's: show a page at / of the REST port: what is live, and a place to try it.")
    page_file: str = _flag(
        "",
        "Slipway's: what that page says of the registry and the ledger, as reconcile writes it, JSON; looked at "
        "whenever somebody looks at the page. It may be missing.",
    )
    allow_version_labels_for_unavailable_models: bool = _flag(
        False, "A label that is new may name a version that is not available yet."
    )
    num_load_threads: int = _flag(0, "Versions, of different models, that load at once; 0 is no limit.")
    num_unload_threads: int = _flag(0, "Versions that unload at once; 0 is no limit.")
    max_num_load_retries: int = _flag(5, "Times a failed load is tried again.")
    load_retry_interval_micros: int = _flag(60_000_000, "Microseconds between those tries; negative is 0.")
    enable_model_warmup: bool = _flag(True, "Run a version's warmup requests before it takes traffic.")
    num_request_iterations_for_warmup: int = _flag(0, "Times each warmup request is run; 0 is once.")
    enable_batching: bool = _flag(False, "Run requests that come together as one batch.")
    batching_parameters_file: str = _flag("", "BatchingParameters, as text; with --enable_batching.")
    enable_per_model_batching_parameters: bool = _flag(
        False, "Read batching_params.pbtxt in a version directory; a version without one is not batched."
    )
    enable_signature_method_name_check: bool = _flag(False, "Refuse signatures whose method name is not the call's.")
    saved_model_tags: str = _flag("serve", "Tags of the SavedModel's graph to serve, with commas between.")
    tensorflow_session_parallelism: int = _flag(0, "TensorFlow's threads within and between operations; 0 is its own.")
    tensorflow_intra_op_parallelism: int = _flag(0, "TensorFlow's threads within an operation; 0 is its own choice.")
    tensorflow_inter_op_parallelism: int = _flag(0, "TensorFlow's threads between operations; 0 is its own choice.")
    prefer_tflite_model: bool = _flag(False, "Serve a version's model.tflite, if there is one, not its SavedModel.")
    version: bool = _flag(False, "Print the versions of the server and of its libraries, and end.")
    default_label: str = _flag("", "Slipway's: requests that name no version go to the one that bears this label.")
    runtime: str = _flag(
        "tensorflow",
        f"Slipway's: what executes a version; one of {', '.join(RUNTIMES)}, or {AUTO}: "
        "whatever executes the fastest of its variants that answers rightly on this machine.",
    )
    variant: str = _flag("", "Slipway's: serve the variant of this name alone, such as openvino-int8.")
    host: str = _flag("127.0.0.1", "Slipway's: address to listen on; 0.0.0.0 is every interface.")
    access_tokens_file: str = _flag(
        "", "Slipway's: who may ask what, by bearer tokens, as `slipway tokens` writes it; looked at each second."
    )
    insecure: bool = _flag(False, "Slipway's: listen for other machines although nothing asks who they are.")
    access_log: str = _flag("", "Slipway's: file that gets a line of JSON for each request; - is standard output.")
    log_format: str = _flag(
        "text",
        f"Slipway's: of the server's own log, one of {', '.join(LOG_FORMATS)}; json is an object a line, with "
        "request_id, model and version where it is about a prediction.",
    )
    trace_endpoint: str = _flag(
        "",
        "Slipway's: address of an OTLP/HTTP collector that gets spans of predictions, as http://127.0.0.1:4318; needs "
        "the extra tracing.",
    )
    trace_sample: float = _flag(
        1.0, "Slipway's: share of predictions that are traced, 0 to 1, where no traceparent header decides."
    )
    max_connections: int = _flag(
        1000, "Slipway's: most connections at a time to REST, and to gRPC; more are closed. 0 is no limit."
    )
    overload_wait_ms: int = _flag(
        500, "Slipway's: longest wait for requests before one's own; more is answered 429. 0 lets all wait."
    )
    max_body_mb: int = _flag(
        128,
        "Slipway's: largest REST body, unpacked, or gRPC message, in MiB; more is answered 413, RESOURCE_EXHAUSTED.",
    )
    trusted_keys: str = _flag(
        "",
        "Slipway's: directory of public keys, and revoked.txt; a version that none of them has signed is not served. "
        "Without it no signature is asked for.",
    )
    prediction_log: str = _flag("", "Slipway's: folder that gets a record of each answer, as parquet; empty is none.")
    prediction_log_sample: float = _flag(1.0, "Slipway's: the share of requests that are logged, 0 to 1.")
    prediction_log_embed_sample: float = _flag(
        0.25, "Slipway's: the share of logged requests whose images' embeddings are worked out when there is time."
    )
    prediction_log_max_mb: int = _flag(1024, "Slipway's: largest size of that folder, in MiB; the oldest files go.")
    prediction_log_days: float = _flag(30.0, "Slipway's: days after which a record goes.")
    prediction_log_inputs: str = _flag(
        "none", "Slipway's: what is logged of the images themselves: none, digest (a hash) or pixels (a file)."
    )
    prediction_log_key_file: str = _flag(
        "", "Slipway's: key of the hash that stands for a client; empty is a random one, made in the folder."
    )
    drain_timeout_seconds: int = _flag(30, "Slipway's: how long SIGTERM waits for requests in flight.")

    @property
    def warmup_runs(self) -> int:
        """Times that each warmup request is run; 0 if they are not."""
        return max(1, self.num_request_iterations_for_warmup) if self.enable_model_warmup else 0

    @property
    def graph_tags(self) -> frozenset[str]:
        """The tags of the graph to serve."""
        return frozenset(tag.strip() for tag in self.saved_model_tags.split(","))

    @property
    def max_body_bytes(self) -> int:
        """The largest REST body, in bytes."""
        return self.max_body_mb * 2**20
