"""boto3's client, with the usual AWS variables and profiles, and with the checksums that every S3 server knows."""

import functools
from typing import TYPE_CHECKING

import boto3
import botocore.loaders
import botocore.session
from botocore.config import Config

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client


def s3_client(connections: int) -> "S3Client":
    """A client with at most that many connections; what boto3 raises is not translated.

    Credentials and profile are read anew each time; the description of S3's interface, which takes 0.1 s, is not.
    """
    session = botocore.session.Session()
    session.register_component("data_loader", _loader(session.get_config_variable("data_path")))
    config = Config(
        retries={"mode": "standard", "total_max_attempts": 5},
        connect_timeout=10,
        read_timeout=60,
        max_pool_connections=connections,
        # Not every server knows the newer checksums, which boto3 would send by itself; Content-MD5 is known to all.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    return boto3.session.Session(botocore_session=session).client("s3", config=config)


@functools.cache
def _loader(data_path: str | None) -> botocore.loaders.Loader:
    return botocore.loaders.create_loader(data_path)
