"""Publications to S3 by a process of their own, killed before a request of our choice or at a moment.

`python -m tests.serving.stores.s3_kills --before KIND:N --after-s SECONDS -- MODULE [ARGUMENT ...]` runs
`python -m MODULE ARGUMENT ...` and sends itself SIGKILL before its N-th request of that kind, or so many seconds after
its first upload of a large file has begun.
"""

import argparse
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from serving.stores import open_store
from serving.sync.mirror import Mirror, Places
from tests.serving.stores.bundles import bundle_of, make_bundle, publish_command

_ROOT = Path(__file__).resolve().parents[3]
NAME = "digits"
# What completes something, in the order in which a publication comes to it.
KINDS = ("manifest claim", "whole object", "complete upload", "saved_model.pb", "abort upload")
_TIMEOUT_S = 300


def kind_of(method, url):
    """What a request completes; "" for one that completes nothing."""
    parts = urlsplit(url)
    query = parse_qs(parts.query, keep_blank_values=True)
    if method == "PUT" and "partNumber" not in query:
        names = {"manifest.json": "manifest claim", "saved_model.pb": "saved_model.pb"}
        return names.get(parts.path.rpartition("/")[2], "whole object")
    if "uploadId" in query and method in {"POST", "DELETE"}:
        return "complete upload" if method == "POST" else "abort upload"
    return ""


class Scene:
    """A base path in S3, what is published to it, and a directory that mirrors it."""

    def __init__(self, folder, server, size_bytes):
        self.client, self.base = server.client, server.bucket_for(folder)
        self.store = open_store(self.base)
        self.source = folder / "source"
        self.digest = make_bundle(self.source, size_bytes)
        self.local_base = folder / "mirror"
        self.local_base.mkdir()
        self.local = open_store(str(self.local_base))

    @property
    def bucket(self):
        return self.base.removeprefix("s3://").partition("/")[0]

    def unfinished(self):
        return self.client.list_multipart_uploads(Bucket=self.bucket).get("Uploads", [])

    def uploaded_bytes(self):
        """Of the version, whole objects and parts alike."""
        while True:
            with suppress(self.client.exceptions.NoSuchUpload):  # the last request of the killed one completed it now
                return self._uploaded_bytes()

    def _uploaded_bytes(self):
        where = {"Bucket": self.bucket}
        objects = self.client.list_objects_v2(**where).get("Contents", [])
        parts = [
            part
            for each in self.unfinished()
            for part in self.client.list_parts(**where, Key=each["Key"], UploadId=each["UploadId"]).get("Parts", [])
        ]
        return sum(each["Size"] for each in (*objects, *parts))

    def begin_upload(self):
        """What a second publisher, killed at its start, leaves: an upload that nobody goes on with."""
        key = f"models/{NAME}/1/variables/variables.index"
        self.client.create_multipart_upload(Bucket=self.bucket, Key=key)

    def publish(self, version, before="", after_s=0.0):
        """Run a publication; whether it was killed. Without a point it is to finish."""
        words = publish_command(self.source, self.base, NAME, version, self.digest)
        kill = ["--before", before, "--after-s", str(after_s)]
        done = subprocess.run(
            [sys.executable, "-m", __name__, *kill, "--", *map(str, words)],
            cwd=_ROOT,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
        assert done.returncode in {0, -signal.SIGKILL}, done.stderr
        return done.returncode == -signal.SIGKILL

    def check_nothing_partial(self, version=1):
        """Whether the version is there: then it is whole, there and in the mirror. Else a mirror takes none of it."""
        turn = Mirror(self.store, self.local, Places(self.base, str(self.local_base))).turn()
        there = version in self.store.versions(NAME)
        assert (turn.refused, turn.left) == ({}, [])
        assert turn.fetched == ([(NAME, version)] if there else [])
        assert self.local.versions(NAME) == ((version,) if there else ())
        if there:
            self.store.verify(NAME, version, self.digest)
            self.local.verify(NAME, version, self.digest)
        return there

    def check_next_run_finishes(self):
        """The next publication ends, whole, with no upload unfinished; then all is removed for another kill."""
        self.publish(1)
        assert self.unfinished() == []
        self.store.verify(NAME, 1, self.digest)
        self.reset()

    def reset(self):
        self.store.remove(NAME, 1)
        if self.local.versions(NAME):
            self.local.remove(NAME, 1)
        assert self.uploaded_bytes() == 0

    def points(self):
        """Every request of a publication that completes something, as `--before` takes them."""
        sent = Counter()
        store = open_store(self.base)
        events = store._bucket._client.meta.events
        events.register("before-send.s3", lambda request, **_: sent.update([kind_of(request.method, request.url)]))
        self.begin_upload()
        store.publish(NAME, 1, bundle_of(self.source, self.digest))
        self.reset()
        return [f"{kind}:{number + 1}" for kind in KINDS for number in range(sent[kind])]

    def killed_before(self, point):
        """Kill a publication before that request, look, and have the next one finish; what was there, in words."""
        if point.startswith("abort"):
            self.begin_upload()
        assert self.publish(1, before=point), f"it came to no {point}"
        return self._looked_at(finish=True)

    def killed_at(self, after_s, *, finish):
        """The same at a moment; None if that was too late. Without `finish`, the next kill finds what this one left."""
        if not self.publish(1, after_s=after_s):
            self.reset()
            return None
        return self._looked_at(finish=finish)

    def _looked_at(self, *, finish):
        there, sent = self.check_nothing_partial(), self.uploaded_bytes()
        told = f"{'whole' if there else 'no version'}, {sent / 1e6:.1f} MB in S3, {len(self.unfinished())} unfinished"
        if finish:
            self.check_next_run_finishes()
        elif there:
            self.reset()
        return told


def _die():
    os.kill(os.getpid(), signal.SIGKILL)


def _arrange(before, after_s):
    """Have the client of every session die where it is told to."""
    import boto3

    kind, _, number = before.partition(":")
    left, lock = [int(number or 0)], threading.Lock()
    begun = threading.Event()

    def look(request, **_):
        if kind and kind_of(request.method, request.url) == kind:
            with lock:
                left[0] -= 1
                if left[0] == 0:
                    _die()
        if after_s and "partNumber" in request.url and not begun.is_set():
            begun.set()
            threading.Thread(target=lambda: (time.sleep(after_s), _die()), daemon=True).start()

    client = boto3.session.Session.client

    def watched(session, *arguments, **settings):
        made = client(session, *arguments, **settings)
        made.meta.events.register("before-send.s3", look)
        return made

    boto3.session.Session.client = watched


def _main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", default="")
    parser.add_argument("--after-s", type=float, default=0.0)
    parser.add_argument("module")
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    _arrange(options.before, options.after_s)
    sys.argv[1:] = options.arguments
    runpy.run_module(options.module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _main()
