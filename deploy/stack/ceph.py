"""Ceph: one monitor, one manager and one object store daemon on a sparse file, for the S3 gateway to keep objects in.

Every connection is authenticated (cephx). The keys are made here and reach the programs by files and standard input.
"""

import base64
import json
import os
import shutil
import struct
import subprocess
import time
import uuid
from collections.abc import Mapping
from pathlib import Path

from deploy.stack.daemon import Daemon
from deploy.stack.folder import Folder
from deploy.stack.service import program
from slipway.errors import SlipwayError

PACKAGES = "--no-install-recommends ceph-mon ceph-mgr ceph-osd radosgw"
_BLOCK_BYTES = 20 * 2**30  # the file grows as objects come
_MEMORY_BYTES = 896 * 2**20  # the least that it takes
_COMMAND_S = 60
_CAPS: Mapping[str, Mapping[str, str]] = {
    "mon.": {"mon": "allow *"},
    "client.admin": {"mon": "allow *", "osd": "allow *", "mgr": "allow *"},
    "mgr.x": {"mon": "allow profile mgr", "osd": "allow *"},
    "client.rgw": {"mon": "allow rw", "osd": "allow rwx", "mgr": "allow rw"},
}
# One copy of everything: this is one machine with one disk. No admin sockets: their paths may be too long.
_CONFIG = """[global]
fsid = {fsid}
mon host = {mon}
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
auth allow insecure global id reclaim = false
keyring = {data}/keyring
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv6 = false
admin socket =
run dir = {data}
log file = {data}/$name.log
mon data = {data}/mon
mgr data = {data}/mgr
osd data = {data}/osd
mgr initial modules =
mon data avail crit = 1
osd objectstore = bluestore
osd memory target = {memory}
bluestore block size = {block}
bluestore block create = true
osd crush chooseleaf type = 0
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pgp num = 4
mon allow pool size one = true
mon warn on pool no redundancy = false
mon pg warn min per osd = 0
[client.rgw]
rgw thread pool size = 64
"""


class Ceph:
    """See Service."""

    def __init__(self, folder: Folder) -> None:
        self.data = folder.path / "ceph"
        self.config = self.data / "ceph.conf"
        self._folder = folder
        self._monitor, self._manager, self._store = (Daemon(f"ceph-{name}", folder) for name in ("mon", "mgr", "osd"))
        self._made = self.data / "made"

    def start(self) -> None:
        """See Service. What was killed while it was made is made anew."""
        monitor, manager, store = (program(f"ceph-{name}", PACKAGES) for name in ("mon", "mgr", "osd"))
        if not self._made.exists():
            self._make(monitor)
        self._monitor.start([monitor, "-f", "-c", str(self.config), "-i", "a"])
        self._manager.start([manager, "-f", "-c", str(self.config), "-i", "x"])
        if not self._made.exists():
            self._make_store(store)
            self._made.touch()
        self._store.start([store, "-f", "-c", str(self.config), "-i", "0"])

    def answers(self) -> bool:
        """See Service."""
        for daemon in (self._monitor, self._manager, self._store):
            daemon.check()
        return int(json.loads(self._ask("osd", "stat", "--format=json"))["num_up_osds"]) == 1

    def prepare(self) -> None:
        """See Service."""

    def stop(self) -> None:
        """See Service."""
        for daemon in (self._store, self._manager, self._monitor):
            daemon.stop()

    def _make(self, monitor: str) -> None:
        """A monitor's database, with the keys of all who may connect."""
        self.stop()
        shutil.rmtree(self.data, ignore_errors=True)
        for directory in (self.data, *(self.data / name for name in ("mon", "mgr", "osd"))):
            directory.mkdir(mode=0o700)
        fsid = str(uuid.uuid4())
        addresses = ",".join(f"{kind}:127.0.0.1:{self._folder.port(f'ceph-{kind}')}" for kind in ("v2", "v1"))
        self.config.write_text(
            _CONFIG.format(
                fsid=fsid,
                mon=f"[{addresses}]",
                data=self.data,
                memory=_MEMORY_BYTES,
                block=_BLOCK_BYTES,
            ),
            encoding="utf-8",
        )
        keyring, known = self.data / "keyring", self.data / "monmap"
        keyring.touch(0o600)
        keyring.write_text("".join(_entry(name, _key(), caps) for name, caps in _CAPS.items()), encoding="ascii")
        maker = program("monmaptool", PACKAGES)
        _run([maker, "--create", "--fsid", fsid, "--addv", "a", f"[{addresses}]", str(known)])
        _run([monitor, "-c", str(self.config), "--mkfs", "-i", "a", "--monmap", str(known), "--keyring", str(keyring)])

    def _make_store(self, store: str) -> None:
        """The object store's file; its key is told to the monitor by standard input."""
        identity, key = str(uuid.uuid4()), _key()
        number = self._ask("osd", "new", identity, "-i", "-", stdin=json.dumps({"cephx_secret": key})).strip()
        with (self.data / "keyring").open("a", encoding="ascii") as keyring:
            keyring.write(_entry(f"osd.{number}", key, {}))
        if number != "0":
            raise SlipwayError(
                f"{self.data}: the first object store has number {number}; expected 0. Remove {self.data}."
            )
        _run([store, "-c", str(self.config), "-i", number, "--mkfs", "--osd-uuid", identity, "--no-mon-config"])
        self._ask("osd", "crush", "add", number, "1.0", "root=default", "host=stack")

    def _ask(self, *words: str, stdin: str | None = None) -> str:
        command = [program("ceph", PACKAGES), "-c", str(self.config), "--connect-timeout", str(_COMMAND_S)]
        return _run([*command, *words], stdin)


def _entry(name: str, key: str, caps: Mapping[str, str]) -> str:
    lines = [f"[{name}]", f"\tkey = {key}", *(f'\tcaps {what} = "{may}"' for what, may in caps.items())]
    return "\n".join(lines) + "\n"


def _key() -> str:
    """A key as Ceph writes it: kind, when it was made in s and ns, length, 16 random bytes."""
    return base64.b64encode(struct.pack("<hiih", 1, int(time.time()), 0, 16) + os.urandom(16)).decode()


def _run(command: list[str], stdin: str | None = None) -> str:
    """What a program prints; SlipwayError, with its complaint, if it fails."""
    done = subprocess.run(
        command, input=stdin or "", capture_output=True, text=True, check=False, timeout=2 * _COMMAND_S
    )
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise SlipwayError(f"{Path(command[0]).name} failed: {said[-1] if said else f'code {done.returncode}'}")
    return done.stdout
