"""The server as a process: what it loads, what it listens on, and its end."""

import logging
import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path

from serving.model_server.addresses import addresses, listen
from serving.model_server.admission import Admission
from serving.model_server.answered import Answered
from serving.model_server.batch_threads import BatchThreads
from serving.model_server.batching import batched_loader
from serving.model_server.batching_parameters import BatchingParameters, read_batching_parameters
from serving.model_server.choosing import Chooser, whole_directory
from serving.model_server.config import DEFAULT_PLATFORM, ModelSettings
from serving.model_server.door_files import read_door_files
from serving.model_server.flags import Flags
from serving.model_server.load_rules import LoadRules
from serving.model_server.loading import checked_loader
from serving.model_server.log_format import start_logging
from serving.model_server.logged import Logged, open_log
from serving.model_server.memory import bound_arenas, keep_for_good
from serving.model_server.metrics import Metrics
from serving.model_server.models import Models
from serving.model_server.observer import Observer
from serving.model_server.pace import Pace
from serving.model_server.polling import Poller
from serving.model_server.runtimes import RUNTIMES, LoadVersion
from serving.model_server.shadows import Shadows
from serving.model_server.signatures import Signatures
from serving.model_server.spans import Tracing
from serving.model_server.traffic_file import TrafficFile

_LOG = logging.getLogger(__name__)


def serve(flags: Flags) -> None:
    """Serve as the flags say until SIGTERM or SIGINT, and answer the requests in flight.

    Raises UnavailableError if a port is taken, InputError if the config file is wrong. Whatever it ends by, threads
    may still load a version then, or run an overdue request.
    """
    start_logging(flags.log_format)
    bound_arenas()
    tracing = _tracing(flags)
    metrics = Metrics(lambda name: any(model.name == name for model in models.served()), tracing)
    files = read_door_files(flags, metrics.denied)
    _set_tensorflow_threads(flags)
    admission = Admission(flags.overload_wait_ms / 1000, metrics.refused, queue=metrics)
    traffic = TrafficFile(Path(flags.traffic_config_file) if flags.traffic_config_file else None)
    log = open_log(flags, lambda: models, lambda: admission.in_flight)
    answered = Answered() if log is None else Answered(on_labelled=log.labelled)
    logged = None if log is None else Logged(log, flags.prediction_log_sample, lambda: models).left
    observer = Observer(answered, Shadows(answered, lambda: admission.in_flight), logged)
    rules = _load_rules(flags, metrics, Pace(lambda: admission.in_flight))
    models = Models(rules, flags.default_label, traffic.of, observer.left)
    # Whoever connects from now on is answered, if only when all is there.
    rest_socket = listen(flags.host, flags.rest_api_port) if flags.rest_api_port else None
    if log is not None:
        metrics.log_counts = log.counts
        log.start()
    _poller(flags, models, traffic).start()
    files.follow()
    # Imported beside the first load, which is what a start waits for.
    from serving.model_server.ports import Ports

    keep_for_good("server")
    ports = Ports(flags, files, models, metrics, admission, answered)
    if log is not None:
        log.wait_ready()
    _LOG.info("listening on %s", addresses(flags))
    try:
        ports.run(rest_socket)
    finally:
        if log is not None:
            log.close()
        if tracing is not None:
            tracing.close()
    _LOG.info("stopped")


def _tracing(flags: Flags) -> Tracing | None:
    """What sends spans; InputError where they are asked for and what sends them is not installed."""
    if not flags.trace_endpoint:
        return None
    from serving.model_server.otlp_tracing import OtlpTracing

    return OtlpTracing(flags.trace_endpoint, flags.trace_sample)


def _load_rules(flags: Flags, metrics: Metrics, pace: Pace) -> LoadRules:
    batched = _batching(flags, metrics)
    choose = Chooser(flags.runtime, flags.variant, flags.prefer_tflite_model, flags.graph_tags)
    signatures = Signatures(Path(flags.trusted_keys)) if flags.trusted_keys else None
    if signatures is not None and flags.model_base_path:
        signatures.check_place(Path(flags.model_base_path))
    checked = partial(checked_loader, warmup=flags.warmup_runs, pace=pace, signatures=signatures)
    return LoadRules(
        batched(checked(choose)),
        {
            row.platform: batched(checked(whole_directory(runtime)))
            for runtime, row in RUNTIMES.items()
            if row.platform != DEFAULT_PLATFORM
        },
        admit=signatures.check_name if signatures else lambda _name, _path: None,
        retries=flags.max_num_load_retries,
        retry_interval_s=max(0, flags.load_retry_interval_micros) / 1e6,
        labels_may_wait=flags.allow_version_labels_for_unavailable_models,
        on_available=lambda name, number: _LOG.info("serving %s@%d on %s", name, number, addresses(flags)),
        on_loaded=lambda name, path, code, took_s: metrics.loaded(name, str(path), code, took_s),
        load_slots=_slots(flags.num_load_threads),
        unload_slots=_slots(flags.num_unload_threads),
        swaps=metrics.swaps,
    )


def _batching(flags: Flags, metrics: Metrics) -> Callable[[LoadVersion], LoadVersion]:
    """What puts batching around a loader, if the flags ask for it; InputError if their file is wrong."""
    if not flags.enable_batching:
        return lambda load: load
    file = flags.batching_parameters_file
    parameters = read_batching_parameters(Path(file)) if file else BatchingParameters()
    threads = BatchThreads(parameters.num_batch_threads)
    per_model = flags.enable_per_model_batching_parameters
    return lambda load: batched_loader(load, parameters, threads, per_model=per_model, on_batch=metrics.batch)


def _poller(flags: Flags, models: Models, traffic: TrafficFile) -> Poller:
    config = Path(flags.model_config_file) if flags.model_config_file else None
    if config is None:
        models.configure([ModelSettings(flags.model_name, Path(flags.model_base_path).absolute())])
    config_interval_s = flags.model_config_file_poll_wait_seconds
    return Poller(models, flags.file_system_poll_wait_seconds, config, config_interval_s, traffic)


def _set_tensorflow_threads(flags: Flags) -> None:
    """For all sessions of this process, by the variables that TensorFlow reads when a session leaves them open."""
    both = flags.tensorflow_session_parallelism
    for name, count in (
        ("TF_NUM_INTRAOP_THREADS", flags.tensorflow_intra_op_parallelism or both),
        ("TF_NUM_INTEROP_THREADS", flags.tensorflow_inter_op_parallelism or both),
    ):
        if count:
            os.environ[name] = str(count)


def _slots(count: int) -> AbstractContextManager[object]:
    return threading.BoundedSemaphore(count) if count else nullcontext()
