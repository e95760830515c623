"""`python -m benchmarks.s3.publish SERVABLE BASE NAME VERSION DIGEST`: one publication, of a servable on this disk."""

import shutil
import sys
from pathlib import Path

from serving.stores import Bundle, open_store


def main(servable: str, base: str, name: str, version: str, digest: str) -> None:
    """Fetch it, as the registry's copy is, and publish it; it must not be there."""
    bundle = Bundle(digest, lambda into: Path(shutil.copytree(servable, into / "servable")))
    assert open_store(base).publish(name, int(version), bundle).created


if __name__ == "__main__":
    main(*sys.argv[1:])
