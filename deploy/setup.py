"""`python -m deploy.setup`: what compose.yaml's `setup` does, once, when MLflow and S3 answer."""

import os
import sys

import boto3
import botocore.exceptions
from botocore.config import Config

from deploy.first_use import BUCKET, have_base_path, have_bucket, have_user
from slipway.errors import InputError, SlipwayError, UnavailableError

_BUCKETS = ("mlflow", BUCKET)


def main() -> None:
    """Make buckets, the first config file, and MLflow's user; S3's keys are the usual AWS variables'."""
    try:
        client = boto3.client("s3", config=Config(request_checksum_calculation="when_required"))
        for bucket in _BUCKETS:
            have_bucket(client, bucket)
        have_base_path(client)
        have_user(*map(_variable, ("MLFLOW_TRACKING_URI", "MLFLOW_ADMIN_PASSWORD", "MLFLOW_TRACKING_PASSWORD")))
    except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError, OSError) as error:
        _end(UnavailableError(f"setup: {error}; expected S3 and MLflow to answer. Look at their logs, run it again."))
    except SlipwayError as error:
        _end(error)


def _variable(name: str) -> str:
    if not os.environ.get(name):
        raise InputError(f"{name} is not set; expected it. compose.yaml has it from a secret's file.")
    return os.environ[name]


def _end(error: SlipwayError) -> None:
    sys.stderr.write(f"error: {error}\n")
    sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
