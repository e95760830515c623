"""A collector: an HTTP server that takes spans by OTLP's protobuf."""

import gzip
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Receiver:
    def __init__(self):
        self.spans = []
        self.services = set()
        self.paths = set()

    def take(self, path, body):
        message = ExportTraceServiceRequest.FromString(body)
        self.paths.add(path)
        for resource in message.resource_spans:
            self.services |= {
                each.value.string_value for each in resource.resource.attributes if "service.name" in each.key
            }
            self.spans += [span for scope in resource.scope_spans for span in scope.spans]

    def named(self, name):
        return [span for span in self.spans if span.name == name]


def attributes(span):
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes}


@contextmanager
def otlp_receiver():
    """Yields the receiver; its `url` is what `--trace_endpoint` is given."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            receiver.take(self.path, gzip.decompress(body) if self.headers["content-encoding"] == "gzip" else body)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_arguments):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        receiver.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join()
