"""The S3 server: Ceph's gateway, with a user and a bucket for MLflow, one for Slipway, and one that only reads."""

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.first_use import BUCKET, REGION, have_base_path, have_bucket
from deploy.stack.ceph import PACKAGES, Ceph
from deploy.stack.daemon import Daemon
from deploy.stack.folder import Folder
from deploy.stack.service import http_status, program
from slipway.errors import SlipwayError

READER = "sync"
OWNERS = ("mlflow", BUCKET)  # users, and the buckets that each owns
_ADMIN_S = 60

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client


class S3:
    """See Service."""

    def __init__(self, folder: Folder, ceph: Ceph) -> None:
        self.port = folder.port("s3")
        self.daemon = Daemon("s3", folder)
        self._folder = folder
        self._config = ceph.config

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def environment(self, user: str) -> dict[str, str]:
        """What a client needs; the keys are in a file, which may not be there before the server is."""
        return {
            "AWS_SHARED_CREDENTIALS_FILE": str(self._credentials(user)),
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            # The gateway does not know the checksums that boto3 sends by itself.
            "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
            "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
        }

    def start(self) -> None:
        """See Service."""
        gateway = program("radosgw", PACKAGES)
        front = f"--rgw-frontends=beast endpoint=127.0.0.1:{self.port}"
        self.daemon.start([gateway, "-f", "-c", str(self._config), "-n", "client.rgw", front])

    def answers(self) -> bool:
        """See Service."""
        self.daemon.check()
        return http_status(self.endpoint) is not None

    def prepare(self) -> None:
        """See Service."""
        for user in (*OWNERS, READER):
            self.add_user(user)
        for owner in OWNERS:
            have_bucket(self.client(owner), owner)
        client = self.client(BUCKET)
        client.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps(_reads(BUCKET, READER)))
        have_base_path(client)

    def stop(self) -> None:
        """See Service."""
        self.daemon.stop()

    def add_user(self, user: str) -> None:
        """Have a user there, and its keys in a file of ours."""
        if self._credentials(user).exists():
            return
        known = self.administer("user", "info", f"--uid={user}", check=False)
        found = known or self.administer("user", "create", f"--uid={user}", f"--display-name={user}")
        keys = json.loads(found)["keys"][0]
        self._folder.write_secret(
            self._credentials(user).name,
            f"[default]\naws_access_key_id = {keys['access_key']}\naws_secret_access_key = {keys['secret_key']}\n",
        )

    def client(self, user: str) -> "S3Client":
        """boto3's, with that user's keys and nothing of the environment."""
        import boto3
        from botocore.config import Config

        lines = self._credentials(user).read_text().splitlines()
        key, secret = (line.partition(" = ")[2] for line in lines[1:])
        return boto3.session.Session(key, secret, region_name=REGION).client(
            "s3",
            endpoint_url=self.endpoint,
            config=Config(request_checksum_calculation="when_required", proxies={}),
        )

    def administer(self, *words: str, check: bool = True) -> str:
        """What `radosgw-admin` prints; nothing if it failed and that is not checked."""
        command = [program("radosgw-admin", PACKAGES), "-c", str(self._config), "-n", "client.rgw", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_ADMIN_S)
        if done.returncode and check:
            said = done.stderr.strip().splitlines()
            raise SlipwayError(f"radosgw-admin {' '.join(words)} failed: {said[-1] if said else done.returncode}")
        return "" if done.returncode else done.stdout

    def _credentials(self, user: str) -> Path:
        return self._folder.path / "secrets" / f"s3-{user}"


def _reads(bucket: str, user: str) -> dict[str, Any]:
    """The policy that lets `user` list and read, and nothing else."""
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"AWS": [f"arn:aws:iam:::user/{user}"]},
                "Action": ["s3:ListBucket", "s3:GetObject"],
                "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"],
            }
        ],
    }
