"""A PostgreSQL cluster of our own: passwords by SCRAM, a free port, and gone when the block ends.

Debian's own cluster on port 5432 is neither needed nor touched.
"""

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.tracking_server.ports import free_port

_START_S = 60
# A cluster that lives for one test session need not survive a power cut: MLflow's migrations take a third of the time.
_FORGETFUL = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")
# A test session that is killed leaves no cluster running; where there is no setpriv, it may.
_LEASH = ("setpriv", "--pdeathsig=INT") if shutil.which("setpriv") else ()


@dataclass(frozen=True)
class Cluster:
    """A running cluster and its only user."""

    port: int
    user: str = "slipway"
    password: str = field(default_factory=lambda: secrets.token_urlsafe(16), repr=False)

    def url(self, database):
        return f"postgresql://{self.user}:{self.password}@127.0.0.1:{self.port}/{database}"

    def create_database(self):
        """Make an empty database; returns its address, with the password."""
        name = f"t_{secrets.token_hex(6)}"
        with closing(self._connect()) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return self.url(name)

    def _connect(self):
        import psycopg

        return psycopg.connect(self.url("postgres"), autocommit=True, connect_timeout=5)

    def answers(self):
        import psycopg

        try:
            self._connect().close()
        except psycopg.OperationalError:
            return False
        return True


@contextmanager
def postgresql_cluster():
    """Make a cluster in a folder that its user can enter, start it, and end it and remove it afterwards."""
    cluster = Cluster(free_port())
    programs = {name: _program(name) for name in ("initdb", "postgres")}
    folder = Path(tempfile.mkdtemp(prefix="slipway-pg-"))  # short: a socket's path has at most 107 bytes
    try:
        _make([*_drop_root(folder), programs["initdb"]], cluster, folder)
        with _running([*_drop_root(folder), *_LEASH, programs["postgres"]], cluster, folder):
            yield cluster
    finally:
        shutil.rmtree(folder)


def _drop_root(folder):
    """What runs a program as somebody whom PostgreSQL accepts: it refuses root."""
    if os.geteuid() != 0:
        return ()
    user = pwd.getpwnam("postgres")
    os.chown(folder, user.pw_uid, user.pw_gid)
    return ("setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups")


def _make(command, cluster, folder):
    password = folder / "password"
    password.write_text(cluster.password)
    shutil.chown(password, folder.owner(), folder.group())
    password.chmod(0o600)
    arguments = ["-A", "scram-sha-256", "-U", cluster.user, f"--pwfile={password}", "-E", "UTF8", "--no-locale", "-N"]
    done = subprocess.run(
        [*command, *arguments, "-D", str(folder / "data")],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    password.unlink()


@contextmanager
def _running(command, cluster, folder):
    settings = ("listen_addresses=127.0.0.1", f"unix_socket_directories={folder}", *_FORGETFUL)
    flags = [word for setting in settings for word in ("-c", setting)]
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "-D", str(folder / "data"), "-p", str(cluster.port), *flags],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C is the test session's, which then ends this one
        )
    try:
        end = time.monotonic() + _START_S
        while not cluster.answers():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.1)
        yield
    finally:
        process.send_signal(signal.SIGINT)  # PostgreSQL's fast shutdown: connections are closed, not waited for
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _program(name):
    """A server's program: on PATH, or where Debian keeps them."""
    places = [shutil.which(name), *sorted(map(str, Path("/usr/lib/postgresql").glob(f"*/bin/{name}")), reverse=True)]
    found = next(filter(None, places), None)
    if found is None:
        pytest.fail(f"PostgreSQL's {name} is not on this machine. On Debian: apt-get install postgresql")
    return found
