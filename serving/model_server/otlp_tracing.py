"""`--trace_endpoint`: spans of predictions by OpenTelemetry, over OTLP/HTTP. Imported only where they are asked for."""

import threading
import time
from collections.abc import Sequence
from urllib.parse import urlsplit

from serving.model_server.callers import Caller
from serving.model_server.spans import Attributes, Interval, Trace
from slipway.errors import InputError

try:
    from opentelemetry.context import Context
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
    from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer, set_span_in_context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ImportError as error:
    raise InputError(
        f"--trace_endpoint: OpenTelemetry is not installed ({error.name} is missing). "
        "Install it: pip install 'slipway[tracing]'."
    ) from error

_SERVICE = "slipway-model-server"
_PATH = "/v1/traces"
_LAST_S = 3.0
_FIELDS = ("traceparent", "tracestate")


class OtlpTracing:
    """See Tracing. OTEL_EXPORTER_OTLP_HEADERS and its like count, too, as OpenTelemetry reads them.

    endpoint: the collector's address; `/v1/traces` is added where it has no path. share: of the predictions whose
    caller has not decided, 0 to 1.
    """

    def __init__(self, endpoint: str, share: float) -> None:
        address = endpoint if urlsplit(endpoint).path.strip("/") else endpoint.rstrip("/") + _PATH
        self._provider = TracerProvider(
            resource=Resource.create({SERVICE_NAME: _SERVICE}),
            sampler=ParentBased(TraceIdRatioBased(share)),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=address)))
        self._tracer = self._provider.get_tracer(_SERVICE)
        self._propagator = TraceContextTextMapPropagator()

    def begin(self, name: str, caller: Caller | None, begun_s: float) -> Trace | None:
        """See Tracing."""
        clock = _Clock()
        span = self._tracer.start_span(
            name, self._parent(caller), SpanKind.SERVER, start_time=clock.epoch_ns(begun_s), record_exception=False
        )
        return _OtlpTrace(self._tracer, span, clock) if span.is_recording() else None

    def close(self) -> None:
        """See Tracing. A collector that is away is not waited for: it would hold up the server's end."""
        sending = threading.Thread(target=self._provider.shutdown, name="last-spans", daemon=True)
        sending.start()
        sending.join(_LAST_S)

    def _parent(self, caller: Caller | None) -> Context:
        if caller is None:
            return Context()
        return self._propagator.extract({field: caller.header(field) for field in _FIELDS}, Context())


class _Clock:
    """From moments of time.perf_counter() to nanoseconds since the epoch."""

    def __init__(self) -> None:
        self._offset_ns = time.time_ns() - time.perf_counter_ns()

    def epoch_ns(self, moment_s: float) -> int:
        return self._offset_ns + round(moment_s * 1e9)


class _OtlpTrace:
    def __init__(self, tracer: Tracer, span: Span, clock: _Clock) -> None:
        self._tracer = tracer
        self._span = span
        self._clock = clock

    def end(self, parts: Sequence[Interval], attributes: Attributes, error: str) -> None:
        """See Trace."""
        inside = set_span_in_context(self._span, Context())
        for part in parts:
            begun_ns, ended_ns = self._clock.epoch_ns(part.begun_s), self._clock.epoch_ns(part.ended_s)
            child = self._tracer.start_span(part.name, inside, start_time=begun_ns, attributes=dict(part.attributes))
            child.end(ended_ns)
        self._span.set_attributes(dict(attributes))
        if error:
            self._span.set_status(StatusCode.ERROR, error)
        self._span.end(self._clock.epoch_ns(time.perf_counter()))
