"""Where S3 is: one address for stores, data and MLflow's artifacts, and for the processes that are started."""

import os

from pipeline.config import Config

_VARIABLE = "AWS_ENDPOINT_URL_S3"  # boto3's own, which MLflow's client heeds, too


def reaching_s3(config: Config) -> Config:
    """Have every S3 client of this process, and of those that it starts, ask the server that `config` names."""
    if config.s3_endpoint:
        os.environ[_VARIABLE] = config.s3_endpoint
    return config


def told_endpoint(config: Config) -> str:
    """The server that this process asks, however it was told; "" is Amazon's. For what is to ask it elsewhere."""
    return config.s3_endpoint or os.environ.get(_VARIABLE, "")
