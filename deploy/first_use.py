"""What S3 and MLflow must have in them before anybody uses them; whatever is there already is left alone."""

import base64
import json
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

from slipway.errors import SlipwayError

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

BUCKET, PREFIX = "slipway", "models"  # where the base path is
BASE = f"s3://{BUCKET}/{PREFIX}"
REGION = "us-east-1"
ADMINISTRATOR, USER = "admin", "slipway"  # of MLflow
_EXISTS = 400
_CALL_S = 30


def have_bucket(client: "S3Client", bucket: str) -> None:
    """A bucket that belongs to whoever `client` is."""
    if bucket not in {each["Name"] for each in client.list_buckets()["Buckets"]}:
        client.create_bucket(Bucket=bucket)


def have_base_path(client: "S3Client") -> None:
    """The config file that model servers read: none starts without it, though there is no version yet."""
    key = f"{PREFIX}/labels.config"
    if not client.list_objects_v2(Bucket=BUCKET, Prefix=key).get("KeyCount"):
        client.put_object(Bucket=BUCKET, Key=key, Body=b"")


def have_user(mlflow: str, administrators: str, password: str) -> None:
    """MLflow's user `slipway`. mlflow: the server's address; administrators: that one's password."""
    login = base64.b64encode(f"{ADMINISTRATOR}:{administrators}".encode()).decode()
    request = urllib.request.Request(  # noqa: S310 - an address of our own
        f"{mlflow}/api/2.0/mlflow/users/create",
        json.dumps({"username": USER, "password": password}).encode(),
        {"Content-Type": "application/json", "Authorization": f"Basic {login}"},
    )
    try:
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=_CALL_S).close()
    except urllib.error.HTTPError as error:
        said = error.read().decode(errors="replace")
        if error.code != _EXISTS or "RESOURCE_ALREADY_EXISTS" not in said:
            raise SlipwayError(
                f"{mlflow}: making the user {USER} failed (status {error.code}); expected it to be made by "
                f"{ADMINISTRATOR}. Look whether that one's password is still the first one, and at the server's log."
            ) from error
