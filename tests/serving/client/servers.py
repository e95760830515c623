"""Small real servers for the client's tests, one for each protocol, all of the same model, `pets`.

The model takes bytes that start with b"IMG"; the next byte is their class. Versions 1 and 2 are loaded, 2 answers, and
label `stable` is version 1.
"""

import asyncio
import base64
import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from serving.wire.get_model_status_pb2 import GetModelStatusRequest, GetModelStatusResponse
from serving.wire.predict_pb2 import PredictRequest, PredictResponse
from serving.wire.tensors import to_numpy, to_proto

LABELS = ("cat", "dog", "fox")
FAILURE = "assertion failed: [data of 9 bytes is no image]\n\t [[{{node map/while/Assert}}]]"


def image(class_id: int, padding: int = 0) -> bytes:
    return b"IMG" + bytes([class_id]) + b"\0" * padding


class NotAnImageError(Exception):
    pass


def classify(content: bytes) -> dict:
    if not content.startswith(b"IMG"):
        raise NotAnImageError
    class_id = content[3]
    output = [0.05] * 3
    output[class_id] = 0.9
    return {"output": output, "class_id": class_id, "label": LABELS[class_id]}


class TensorFlowServing:
    """REST. `requests` is how many images each predict request carried, `connections` who asked."""

    def __init__(self, signatures=("serving_bytes",), *, names_version=True, outputs=("output", "class_id", "label")):
        self.signatures, self.names_version, self.outputs = signatures, names_version, outputs
        self.requests: list[int] = []
        self.connections: set = set()
        self.delay_s = 0.0
        self.app = Starlette(
            routes=[
                Route("/v1/models/{name:path}", self.predict, methods=["POST"]),
                Route("/v1/models/{name:path}", self.status),
            ]
        )

    def resolve(self, path: str) -> tuple[str, Response | None]:
        name, _, choice = path.partition("/")
        if name != "pets":
            return "", error(404, f"Servable not found for request: Latest({name})")
        if not choice or choice == "versions/2":
            return "2", None
        if choice in {"versions/1", "labels/stable"}:
            return "1", None
        if choice.startswith("labels/"):
            return "", error(400, f"Unrecognized servable version label: {choice[7:]}")
        return "", error(404, f"Servable not found for request: Specific(pets, {choice[9:]})")

    async def status(self, request: Request) -> Response:
        version, failure = self.resolve(request.path_params["name"])
        status = {"version": version, "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
        return failure or JSONResponse({"model_version_status": [status]})

    async def predict(self, request: Request) -> Response:
        self.connections.add(request.client)
        await asyncio.sleep(self.delay_s)
        version, failure = self.resolve(request.path_params["name"].removesuffix(":predict"))
        if failure:
            return failure
        document = json.loads(await request.body())
        if document["signature_name"] not in self.signatures:
            return error(400, f'Serving signature name: "{document["signature_name"]}" not found in signature def')
        self.requests.append(len(document["instances"]))
        try:
            rows = [classify(base64.b64decode(row["image_bytes"]["b64"])) for row in document["instances"]]
        except NotAnImageError:
            return error(400, FAILURE)
        headers = {"X-Slipway-Version": version} if self.names_version else {}
        predictions = [{key: row[key] for key in self.outputs} for row in rows]
        return JSONResponse({"predictions": predictions}, headers=headers)


def error(status: int, message: str) -> Response:
    return JSONResponse({"error": message}, status)


class MlflowScoring:
    """MLflow's scoring server, with the answers that 3.17 gives; every request fails with `failure` if it is given."""

    def __init__(self, failure: dict | None = None):
        self.failure = failure
        self.requests: list[int] = []
        self.app = Starlette(
            routes=[
                Route("/ping", lambda _: Response("\n", media_type="application/json")),
                Route("/version", lambda _: Response("3.17.2", media_type="application/json")),
                Route("/invocations", self.invocations, methods=["POST"]),
            ]
        )

    async def invocations(self, request: Request) -> Response:
        if self.failure:
            return JSONResponse(self.failure, 400)
        records = json.loads(await request.body())["dataframe_records"]
        self.requests.append(len(records))
        try:
            return JSONResponse({"predictions": [classify(base64.b64decode(row["image_bytes"])) for row in records]})
        except NotAnImageError:
            trace = f"Traceback (most recent call last):\n  File x\nSomeError: Graph execution error:\n\n{FAILURE}"
            message = "Encountered an unexpected error while evaluating the model. Verify"
            return JSONResponse({"error_code": "BAD_REQUEST", "message": message, "stack_trace": trace}, 400)


class TensorFlowServingGrpc:
    """gRPC: Predict and GetModelStatus."""

    def __init__(self, signatures=("serving_bytes",), outputs=("output", "class_id", "label")):
        self.signatures, self.outputs = signatures, outputs
        self.requests: list[int] = []
        self.delay = threading.Event()
        self.delay.set()

    def resolve(self, spec, context) -> int:
        asked = spec.version.value if spec.HasField("version") else spec.version_label or 2
        if spec.name != "pets" or (isinstance(asked, int) and asked not in {1, 2}):
            context.abort(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: Latest({spec.name})")
        if asked == "stable":
            return 1
        if isinstance(asked, str):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"Unrecognized servable version label: {asked}")
        return asked

    def status(self, request, context):
        self.resolve(request.model_spec, context)
        return GetModelStatusResponse()

    def predict(self, request, context):
        self.delay.wait()
        version = self.resolve(request.model_spec, context)
        if request.model_spec.signature_name not in self.signatures:
            text = f'Serving signature name: "{request.model_spec.signature_name}" not found in signature def'
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, text)
        images = to_numpy(request.inputs["image_bytes"])
        self.requests.append(len(images))
        try:
            rows = [classify(content) for content in images]
        except NotAnImageError:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, FAILURE)
        columns = {
            "output": np.array([row["output"] for row in rows], np.float32),
            "class_id": np.array([row["class_id"] for row in rows], np.int64),
            "label": np.array([row["label"].encode() for row in rows], object),
        }
        response = PredictResponse(outputs={key: to_proto(columns[key]) for key in self.outputs})
        response.model_spec.CopyFrom(request.model_spec)
        response.model_spec.version.value = version
        return response


@contextmanager
def serving_http(app, **options) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off", **options))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = server.force_exit = True
            thread.join(10)


@contextmanager
def serving_grpc(service: TensorFlowServingGrpc, limit_bytes: int = -1) -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(2), options=[("grpc.max_receive_message_length", limit_bytes)])
    handlers = {
        "PredictionService": {
            "Predict": grpc.unary_unary_rpc_method_handler(
                service.predict, PredictRequest.FromString, PredictResponse.SerializeToString
            )
        },
        "ModelService": {
            "GetModelStatus": grpc.unary_unary_rpc_method_handler(
                service.status, GetModelStatusRequest.FromString, GetModelStatusResponse.SerializeToString
            )
        },
    }
    server.add_generic_rpc_handlers(
        tuple(
            grpc.method_handlers_generic_handler(f"tensorflow.serving.{name}", rpcs) for name, rpcs in handlers.items()
        )
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"grpc://127.0.0.1:{port}"
    finally:
        server.stop(0).wait()


def not_found(_request: Request) -> Response:
    return PlainTextResponse("nothing of the kind", 404)
