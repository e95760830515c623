"""The server's ports: REST by uvicorn, gRPC by grpcio, and their end. Imported once a load has begun, beside it."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import cast

import grpc
import uvicorn

from serving.model_server.addresses import bracketed
from serving.model_server.admission import Admission
from serving.model_server.answered import Answered
from serving.model_server.door_files import DoorFiles
from serving.model_server.flags import Flags
from serving.model_server.grpc_api import GrpcApi
from serving.model_server.grpc_server import GrpcOptions, make_grpc_server
from serving.model_server.metrics import Metrics
from serving.model_server.models import Models
from serving.model_server.page.site import DOCUMENT, PATHS, with_site
from serving.model_server.rest import RestApi
from serving.model_server.rest_access import with_access, with_log
from serving.model_server.rest_doors import App, with_cors, with_page
from serving.model_server.rest_limits import REST_LIMITS, RestLimits, limited

_LOG = logging.getLogger(__name__)
_CONCURRENT_STREAMS = 256  # of one connection: more wait
_HANDSHAKE_MS = 20_000
_GRPC_IDLE_S = 75.0


class _RestServer(uvicorn.Server):
    """Leaves signals to this module: uvicorn would raise them again at the end, and the exit code would not be 0."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Ports:
    """The doors of one server. UnavailableError for a gRPC port in use."""

    def __init__(
        self, flags: Flags, files: DoorFiles, models: Models, metrics: Metrics, admission: Admission, answered: Answered
    ) -> None:
        self._flags = flags
        self._draining = threading.Event()
        self._grpc = grpc_server(flags, files, _grpc_api(flags, models, metrics, self._draining, admission))
        app = _rest_app(flags, models, metrics, self._draining, admission, answered)
        if files.metrics is not None:
            app = with_metrics(app, files.metrics, metrics, models)
        if flags.page:
            app = with_site(flags, models, app)
        self._rest = rest_server(flags, files, with_doors(flags, files, app))

    def run(self, rest_socket: socket.socket | None) -> None:
        """Answer what comes, by REST from that socket, until SIGTERM or SIGINT; and then the requests in flight."""
        if self._grpc is not None:
            self._grpc.start()
        with asyncio.Runner(loop_factory=self._rest.config.get_loop_factory()) as runner:
            runner.run(self._until_stopped(rest_socket))

    async def _until_stopped(self, rest_socket: socket.socket | None) -> None:
        loop = asyncio.get_running_loop()
        stopping = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopping.set)
        rest_task = loop.create_task(self._rest.serve([rest_socket])) if rest_socket is not None else None
        await stopping.wait()
        self._draining.set()
        timeout_s = self._flags.drain_timeout_seconds
        _LOG.info("stopping: requests in flight have up to %d s", timeout_s)
        stopped = self._grpc.stop(timeout_s) if self._grpc is not None else None
        self._rest.should_exit = True
        if rest_task is not None:
            await rest_task
        if stopped is not None:
            await asyncio.to_thread(stopped.wait)


def _grpc_api(
    flags: Flags, models: Models, metrics: Metrics, draining: threading.Event, admission: Admission
) -> GrpcApi:
    return GrpcApi(
        models,
        draining.is_set,
        check_method_names=flags.enable_signature_method_name_check,
        tensor_content=flags.enable_serialization_as_tensor_content,
        metrics=metrics,
        admission=admission,
    )


def _rest_app(
    flags: Flags,
    models: Models,
    metrics: Metrics,
    draining: threading.Event,
    admission: Admission,
    answered: Answered,
) -> App:
    return RestApi(
        models,
        ThreadPoolExecutor(_thread_count(flags.rest_api_num_threads), thread_name_prefix="rest"),
        flags.rest_api_timeout_in_ms / 1000,
        flags.max_body_bytes,
        draining.is_set,
        check_method_names=flags.enable_signature_method_name_check,
        metrics=metrics,
        admission=admission,
        answered=answered,
    )


def with_metrics(app: App, path: str, metrics: Metrics, models: Models) -> App:
    """An application with the metrics page at that path."""
    from prometheus_client import CollectorRegistry

    from serving.model_server.metrics_page import CONTENT_TYPE, metrics_page

    return with_page(app, path, CONTENT_TYPE, metrics_page(metrics, models, CollectorRegistry()))


def with_doors(flags: Flags, files: DoorFiles, app: App) -> App:
    """What a request passes through, from the outside: log, other origins, access."""
    if files.access is not None:
        app = with_access(app, files.access, files.metrics, PATHS if flags.page else ())
    if flags.rest_api_enable_cors_support:
        app = with_cors(app, {*PATHS, DOCUMENT} if flags.page else ())
    return app if files.log is None else with_log(app, files.log)


def rest_server(flags: Flags, files: DoorFiles, app: App, limits: RestLimits = REST_LIMITS) -> uvicorn.Server:
    """What answers REST by the application, within the limits of one client, over TLS if the files say so."""
    certificates = files.certificates
    limits = replace(limits, connections=flags.max_connections)
    config = uvicorn.Config(
        app,
        loop="auto",
        http=cast("type[asyncio.Protocol]", limited(limits)),
        ssl_context_factory=None if certificates is None else lambda _config, _default: certificates.rest_context(),
        lifespan="off",
        ws="none",
        interface="asgi3",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        # A connection that is closed while its client sends the next request is a failure to the client.
        timeout_keep_alive=limits.read_s,
        timeout_graceful_shutdown=flags.drain_timeout_seconds,
    )
    return _RestServer(config)


def grpc_server(flags: Flags, files: DoorFiles, api: GrpcApi, idle_s: float = _GRPC_IDLE_S) -> grpc.Server | None:
    """What answers gRPC, not started; None if the flags name nothing to listen on.

    idle_s: how long a connection may stay without a call.
    """
    if not flags.port and not flags.grpc_socket_path:
        return None
    options = GrpcOptions(
        socket_path=flags.grpc_socket_path,
        credentials=files.certificates.grpc_credentials if files.certificates is not None else None,
        arguments=[*_grpc_limits(flags, idle_s), *files.arguments],
        health=flags.enable_grpc_healthcheck_service,
        access=files.access,
        log=files.log,
    )
    address = f"{bracketed(flags.host)}:{flags.port}" if flags.port else ""
    return make_grpc_server(api, address, _thread_count(flags.grpc_max_threads), options)


def _grpc_limits(flags: Flags, idle_s: float) -> list[tuple[str, int]]:
    """What one client may hold; gRPC's own limit of metadata, 16 KiB, stands."""
    limits = [
        ("grpc.max_receive_message_length", flags.max_body_bytes),
        ("grpc.max_concurrent_streams", _CONCURRENT_STREAMS),
        ("grpc.server_handshake_timeout_ms", _HANDSHAKE_MS),
        ("grpc.max_connection_idle_ms", round(1000 * idle_s)),
    ]
    if flags.max_connections:
        limits.append(("grpc.max_allowed_incoming_connections", flags.max_connections))
    return limits


def _thread_count(asked: int) -> int:
    return asked or 4 * (os.cpu_count() or 1)  # TensorFlow Serving's number
