"""TensorFlow Serving's REST API as an ASGI application: paths, bodies, deadlines; the work is done in threads."""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import orjson

from serving.model_server.admission import Admission
from serving.model_server.answered import Answered
from serving.model_server.body import read_body
from serving.model_server.callers import RestCaller
from serving.model_server.classify import classify
from serving.model_server.errors import ServingError, invalid_argument
from serving.model_server.explain import METHOD as EXPLAIN
from serving.model_server.explain import explain
from serving.model_server.feedback import feedback_json, parse_feedback
from serving.model_server.json_examples import classification_json, regression_json, request_examples
from serving.model_server.json_request import JsonRequest, parse_request, request_inputs
from serving.model_server.json_response import (
    error_json,
    listing_json,
    metadata_json,
    prediction_json,
    readiness_json,
    status_json,
)
from serving.model_server.json_values import quote
from serving.model_server.metrics import Metrics
from serving.model_server.models import Models
from serving.model_server.observer import observations
from serving.model_server.openapi import openapi_json
from serving.model_server.predict import DEFAULT_SIGNATURE, predict
from serving.model_server.regress import regress
from serving.model_server.request import Request
from serving.wire.classification_pb2 import ClassificationRequest
from serving.wire.model_pb2 import ModelSpec
from serving.wire.regression_pb2 import RegressionRequest
from serving.wire.status_pb2 import Code

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

_MODEL = r"/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
_PREDICTION = re.compile(rf"{_MODEL}:(?P<method>classify|regress|predict|explain)", re.IGNORECASE | re.ASCII)
_STATUS = re.compile(rf"{_MODEL}(?P<metadata>/metadata)?", re.IGNORECASE | re.ASCII)
_OBSERVATIONS = re.compile(r"/v1/models/(?P<name>[^/:]+)/observations", re.IGNORECASE | re.ASCII)
_FEEDBACK = re.compile(r"/v1/feedback", re.IGNORECASE)
_LISTING = re.compile(r"/v1/models/?", re.IGNORECASE)
_MOST_DIGITS = 4000  # Python refuses to parse longer numbers
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answer:
    """What goes back: a status, a JSON body, and headers beside the usual ones."""

    status: int
    body: bytes
    headers: Headers = field(default_factory=list)
    code: Code.ValueType = Code.OK


@dataclass(frozen=True)
class RestApi:
    """The ASGI application. `draining` says that the server is about to stop, and so not ready.

    `check_method_names`: whether a signature's method name must be that of the call. `admission`: refuses predictions,
    and nothing else, when there are too many.
    """

    models: Models
    threads: ThreadPoolExecutor
    timeout_s: float
    max_body_bytes: int
    draining: Callable[[], bool] = lambda: False
    check_method_names: bool = False
    metrics: Metrics = field(default_factory=Metrics)
    admission: Admission = field(default_factory=lambda: Admission(0))
    answered: Answered = field(default_factory=Answered)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        method, path = scope["method"], scope["raw_path"].decode("latin-1").partition("?")[0]
        match = _PREDICTION.fullmatch(path) if method == "POST" else None
        request = self._request(match, scope) if match else None
        try:
            async with asyncio.timeout(self.timeout_s):
                if match and request:
                    with request:
                        answer = await self._answer_prediction(match, scope, receive)
                        request.code = answer.code
                else:
                    answer = await self._answer(method, path, scope, receive)
        except TimeoutError:
            answer = _error(ServingError(Code.DEADLINE_EXCEEDED, f"No answer within {self.timeout_s:g} s."))
        except ServingError as error:
            answer = _error(error)
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer.body))]
        headers += answer.headers
        if request:
            headers += [(name.encode(), value.encode()) for name, value in request.pairs()]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if method == "HEAD" else answer.body})

    def _request(self, match: re.Match[str], scope: Message) -> Request:
        caller = RestCaller(scope["headers"], scope.get("client"))
        return Request(self.metrics, "REST", match["method"].lower(), unquote(match["name"]), caller)

    async def _answer(self, method: str, path: str, scope: Message, receive: Receive) -> Answer:
        if method == "POST" and _FEEDBACK.fullmatch(path):
            return await self._answer_feedback(scope, receive)
        if method in {"GET", "HEAD"} and path == "/healthz":
            ready = self.models.ready() and not self.draining()
            return Answer(200 if ready else 503, readiness_json(ready=ready))
        if method in {"GET", "HEAD"} and path == "/livez":
            return Answer(200, readiness_json(ready=True))
        answer = await self._answer_question(path) if method == "GET" else None
        if answer is not None:
            return answer
        error = invalid_argument(f"Malformed request: {method} {path}")
        return _error(error) if path.lower().startswith("/v1/") else Answer(404, error_json(error))

    async def _answer_question(self, path: str) -> Answer | None:
        # On other threads than predictions: a server that has much to do still says how it is.
        if match := _STATUS.fullmatch(path):
            return await asyncio.to_thread(_guarded, self._describe, _spec(match), match["metadata"])
        if match := _OBSERVATIONS.fullmatch(path):
            return await asyncio.to_thread(_guarded, self._observe, unquote(match["name"]))
        if _LISTING.fullmatch(path):
            return Answer(200, listing_json(self.models.served()))
        return Answer(200, openapi_json()) if path == "/openapi.json" else None

    async def _answer_prediction(self, match: re.Match[str], scope: Message, receive: Receive) -> Answer:
        self.admission.check()  # the server drops the body of a request that is answered before it is read
        body = await read_body(scope["headers"], receive, self.max_body_bytes)
        if body is None:
            return self._too_large()
        self.admission.check()  # others may have come while the body did
        arguments = (_guarded, self._predict, _spec(match), match["method"].lower(), body)
        answer: Answer = await asyncio.wrap_future(self.admission.submit(self.threads, copy_context().run, *arguments))
        return answer

    async def _answer_feedback(self, scope: Message, receive: Receive) -> Answer:
        body = await read_body(scope["headers"], receive, self.max_body_bytes)
        return self._too_large() if body is None else await asyncio.to_thread(_guarded, self._attach, body)

    def _too_large(self) -> Answer:
        text = f"The body is larger than {self.max_body_bytes} bytes. Send less, or start with --max_body_mb."
        return Answer(413, error_json(invalid_argument(text)), code=Code.INVALID_ARGUMENT)

    def _attach(self, body: bytes) -> Answer:
        return Answer(200, feedback_json(*self.answered.attach(parse_feedback(body))))

    def _observe(self, name: str) -> Answer:
        return Answer(200, orjson.dumps(observations(self.models.named(name)).as_dict()))

    def _predict(self, spec: ModelSpec, method: str, body: bytes) -> Answer:
        request = parse_request(body)
        if method == EXPLAIN:
            return self._explain(spec, request)
        if method != "predict":
            return self._infer_from_examples(spec, method, request)
        with self.models.acquire(spec) as lease:
            name = request.signature_name or DEFAULT_SIGNATURE
            signature = lease.runtime.signatures.get(name)
            if signature is None:
                raise invalid_argument(f'Serving signature name: "{name}" not found in signature def')
            inputs = request_inputs(request, signature.inputs)
            outputs = predict(lease.runtime, name, inputs, check_method=self.check_method_names)
            return Answer(200, prediction_json(outputs, row_format=request.row_format))

    def _explain(self, spec: ModelSpec, request: JsonRequest) -> Answer:
        with self.models.acquire(spec) as lease:
            lease.on_left = None  # no prediction: rollouts compare versions by those, and by how long those take
            check = self.check_method_names
            return Answer(200, explain(lease.runtime, lease.variant.name, request, check_method=check))

    def _infer_from_examples(self, spec: ModelSpec, method: str, request: JsonRequest) -> Answer:
        examples = request_examples(request)
        try:
            spec.signature_name = request.signature_name
        except UnicodeEncodeError:  # half of a surrogate pair
            raise invalid_argument(f"No signature was found with the name: {quote(request.signature_name)}") from None
        check = self.check_method_names
        with self.models.acquire(spec) as lease:
            if method == "classify":
                classification = ClassificationRequest(model_spec=spec, input=examples)
                body = classification_json(classify(lease.runtime, classification, check_method=check))
            else:
                regression = RegressionRequest(model_spec=spec, input=examples)
                body = regression_json(regress(lease.runtime, regression, check_method=check))
            return Answer(200, body)

    def _describe(self, spec: ModelSpec, metadata: str | None) -> Answer:
        if metadata is None:
            return Answer(200, status_json(self.models.versions(spec)))
        with self.models.acquire(spec) as lease:
            return Answer(200, metadata_json(lease.model, lease.number, lease.runtime.signatures))


def _guarded(work: Callable[..., Answer], *arguments: object) -> Answer:
    try:
        return work(*arguments)
    except ServingError as error:
        return _error(error)
    except Exception as error:  # noqa: BLE001  a request's failure is its own; the server goes on
        _LOG.exception("a request failed in a way that was not foreseen")
        return _error(ServingError(Code.INTERNAL, f"{type(error).__name__}: see the server's log."))


def _error(error: ServingError) -> Answer:
    later: Headers = [(b"retry-after", b"1")] if error.code == Code.RESOURCE_EXHAUSTED else []
    return Answer(error.http_status, error_json(error), later, error.code)


def _spec(match: re.Match[str]) -> ModelSpec:
    spec = ModelSpec(name=unquote(match["name"]))
    if match["version"]:
        if len(match["version"]) > _MOST_DIGITS or int(match["version"]) >= 2**63:
            raise invalid_argument(f"Failed to convert version: {match['version']} to numeric.")
        spec.version.value = int(match["version"])
    elif match["label"]:
        spec.version_label = unquote(match["label"])
    return spec
