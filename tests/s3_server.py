"""An S3 server in this process, for tests: moto's, which keeps objects in memory and checks no signature."""

import hashlib
import os

import boto3
import pytest


class S3Server:
    def __init__(self, endpoint):
        self.endpoint = endpoint

    @property
    def client(self):
        return boto3.client("s3", endpoint_url=self.endpoint)

    def bucket_for(self, tmp_path):
        """A base path in a bucket of this test's own."""
        name = "b-" + hashlib.sha256(str(tmp_path).encode()).hexdigest()[:20]
        self.client.create_bucket(Bucket=name)
        return f"s3://{name}/models"


@pytest.fixture(scope="session")
def s3_process():
    if os.environ.get("SLIPWAY_TEST_S3"):  # a server that runs, with the usual credentials in the environment
        yield os.environ["SLIPWAY_TEST_S3"]
        return
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3_server(s3_process, monkeypatch):
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {
        "AWS_ACCESS_KEY_ID": os.environ.get("AWS_ACCESS_KEY_ID", "test"),
        "AWS_SECRET_ACCESS_KEY": os.environ.get("AWS_SECRET_ACCESS_KEY", "test"),
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL_S3": s3_process,
    }.items():
        monkeypatch.setenv(name, value)
    return S3Server(s3_process)
