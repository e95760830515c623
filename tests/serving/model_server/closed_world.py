"""A server with its doors as flags have them, in this process: both ports, and a fake runtime behind them."""

import http.client
import json
import socket
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import numpy as np

from serving.model_server.access_tokens import add_token, new_token
from serving.model_server.door_files import read_door_files
from serving.model_server.flag_parsing import parse_flags
from serving.model_server.grpc_api import GrpcApi
from serving.model_server.load_rules import LoadRules
from serving.model_server.metrics import Metrics
from serving.model_server.models import Models
from serving.model_server.page.site import with_site
from serving.model_server.ports import grpc_server, rest_server, with_doors, with_metrics
from serving.model_server.rest import RestApi
from serving.model_server.rest_limits import REST_LIMITS
from serving.wire.predict_pb2 import PredictRequest, PredictResponse
from serving.wire.tensors import to_proto
from tests.serving.model_server.fakes import FakeLoads, eventually, put_version, settings, spec
from tests.serving.model_server.processes import free_ports

PREDICT = "/tensorflow.serving.PredictionService/Predict"
STATUS = "/tensorflow.serving.ModelService/GetModelStatus"
RELOAD = "/tensorflow.serving.ModelService/HandleReloadConfigRequest"
PATH = "/v1/models/m:predict"


class ClosedServer:
    """`metrics`: what was counted. `ports`: REST and gRPC. `authority`: the PEM of whom clients trust, if TLS is on."""

    def __init__(self, ports, metrics, files, authority, connections):
        self.rest_port, self.port = ports
        self.metrics, self.files, self.authority = metrics, files, authority
        self.connections = connections  # of REST, now

    def connect(self, certificate=None, timeout_s=20.0):
        if self.authority is None:
            return http.client.HTTPConnection("127.0.0.1", self.rest_port, timeout=timeout_s)
        context = ssl.create_default_context(cadata=self.authority)
        if certificate is not None:
            context.load_cert_chain(certificate)
        return http.client.HTTPSConnection("127.0.0.1", self.rest_port, timeout=timeout_s, context=context)

    def rest(self, method="POST", path=PATH, token=None, headers=None):
        """Status, headers and text of an answer."""
        connection = self.connect()
        given = dict(headers or {}) | ({} if token is None else {"Authorization": f"Bearer {token}"})
        connection.request(method, path, json.dumps({"instances": [1.0]}) if method == "POST" else None, given)
        response = connection.getresponse()
        text = response.read().decode()
        connection.close()
        return response.status, response.headers, text

    def channel(self, target=None, certificate=None, options=()):
        target = target or f"127.0.0.1:{self.port}"
        if self.authority is None:
            return grpc.insecure_channel(target, options)
        return grpc.secure_channel(
            target, grpc.ssl_channel_credentials(self.authority.encode(), certificate, certificate), options
        )

    def grpc(self, method=PREDICT, token=None, target=None):
        """The code of a call, and its trailing metadata."""
        with self.channel(target) as channel:
            return call(channel, method, token)

    def look(self):
        """Look at the files now, rather than in a second."""
        for one in (self.files.access, self.files.certificates):
            if one is not None:
                one.file.look()


def call(channel, method=PREDICT, token=None, rows=1, timeout_s=20.0):
    request = b""
    if method == PREDICT:
        message = PredictRequest(model_spec=spec())
        message.inputs["x"].CopyFrom(to_proto(np.zeros(rows, np.float32)))
        request = message.SerializeToString()
    metadata = None if token is None else (("authorization", f"Bearer {token}"),)
    try:
        _, done = channel.unary_unary(method).with_call(request, timeout=timeout_s, metadata=metadata)
    except grpc.RpcError as error:
        done = error
    return done.code(), dict(done.trailing_metadata() or ())


def predict_over(channel, token=None):
    """The answer to a prediction; raises what the call ends by."""
    message = PredictRequest(model_spec=spec())
    message.inputs["x"].CopyFrom(to_proto(np.zeros(1, np.float32)))
    stub = channel.unary_unary(PREDICT, PredictRequest.SerializeToString, PredictResponse.FromString)
    return stub(message, timeout=20, metadata=None if token is None else (("authorization", f"Bearer {token}"),))


def give_token(file, name, *scopes, expires="never"):
    """A new token, whose digest is in the file from now on."""
    token, noted = new_token(name, scopes or ("predict",), expires)
    add_token(file, noted)
    return token


def one_model(base):
    put_version(base, 1, 1)
    models = Models(LoadRules(FakeLoads()))
    models.configure([settings(base)])
    eventually(models.ready)
    return models


@contextmanager
def closed_server(models, *flags, authority=None, limits=REST_LIMITS, **grpc_limits):
    """A server of those models with those flags; `authority` as ClosedServer's, `limits` as RestLimits'.

    `grpc_limits`: idle_s, as grpc_server's.
    """
    ports = free_ports(2)
    parsed = parse_flags(["--model_base_path=/none", f"--rest_api_port={ports[0]}", f"--port={ports[1]}", *flags])
    metrics = Metrics()
    files = read_door_files(parsed, metrics.denied)
    over_grpc = grpc_server(parsed, files, GrpcApi(models, metrics=metrics), **grpc_limits)
    over_grpc.start()
    with socket.create_server(("127.0.0.1", ports[0])) as listener, ThreadPoolExecutor(4) as threads:
        timeout_s = parsed.rest_api_timeout_in_ms / 1000
        app = RestApi(models, threads, timeout_s, parsed.max_body_bytes, metrics=metrics)
        if files.metrics is not None:
            app = with_metrics(app, files.metrics, metrics, models)
        if parsed.page:
            app = with_site(parsed, models, app)
        over_rest = rest_server(parsed, files, with_doors(parsed, files, app), limits)
        thread = threading.Thread(target=over_rest.run, args=([listener],))
        thread.start()
        try:
            eventually(lambda: over_rest.started)
            yield ClosedServer(ports, metrics, files, authority, over_rest.server_state.connections)
        finally:
            over_rest.should_exit = over_rest.force_exit = True
            thread.join()
            over_grpc.stop(None).wait()
