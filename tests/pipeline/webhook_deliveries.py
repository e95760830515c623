"""Webhook deliveries as MLflow's server signs them: by its own code, or altered on the way."""

import http.client
import json
import time
import uuid
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

SECRET = "a secret of thirty-two characters"


@dataclass(frozen=True)
class Delivery:
    """What is posted."""

    body: str
    delivery_id: str
    time: str
    signature: str

    @property
    def headers(self):
        return {
            "x-mlflow-signature": self.signature,
            "x-mlflow-delivery-id": self.delivery_id,
            "x-mlflow-timestamp": self.time,
        }

    def altered(self, **parts):
        return replace(self, **parts)


def signed(*, secret=SECRET, now=None, delivery_id=None, body=None):
    """A delivery as MLflow's server makes it."""
    from mlflow.webhooks.delivery import _generate_hmac_signature

    body = json.dumps({"data": {"alias": "champion", "version": "2"}}) if body is None else body
    delivery_id = delivery_id or str(uuid.uuid4())
    sent = str(int(time.time() if now is None else now))
    return Delivery(body, delivery_id, sent, _generate_hmac_signature(secret, delivery_id, sent, body))


def post(address, delivery, method="POST"):
    """Send it; returns the status."""
    return request(address, method, delivery.body.encode(), delivery.headers)[0]


def request(address, method="GET", body=None, headers=()):
    """Status and body of one request."""
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=20)
    try:
        connection.request(method, urlsplit(address).path or "/", body=body, headers=dict(headers))
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def tally(address):
    """What the address says of its deliveries."""
    return json.loads(request(address)[1])
