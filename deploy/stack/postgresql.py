"""PostgreSQL: a cluster of its own, with one role and its databases for MLflow, and one for Slipway."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.stack.daemon import Daemon
from deploy.stack.folder import Folder
from deploy.stack.service import program
from slipway.errors import SlipwayError

if TYPE_CHECKING:
    import psycopg

_DATABASES = {"mlflow": ("mlflow", "mlflow_login"), "slipway": ("slipway",)}  # by role
_OWNER = "postgres"
_USER = "postgres"  # whom it runs as where we are root, whom it refuses
_DEBIAN = "usr/lib/postgresql/*/bin"
_HOME = Path("/var/lib/postgresql")
# What lives for one test session need not survive a power cut: MLflow's migrations then take a third of the time.
_FORGETFUL = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")


class PostgreSQL:
    """See Service. Passwords by SCRAM, over TCP on loopback alone."""

    def __init__(self, folder: Folder, *, forgetful: bool = False) -> None:
        self.port = folder.port("postgresql")
        self.daemon = Daemon("postgresql", folder)
        self._folder = folder
        self._link = folder.path / "postgresql"
        self._settings = ("listen_addresses=127.0.0.1", "unix_socket_directories=", *(_FORGETFUL if forgetful else ()))

    def url(self, database: str, role: str) -> str:
        """A database's address; the password is in `password_file`, which PGPASSFILE names."""
        return f"postgresql://{role}@127.0.0.1:{self.port}/{database}"

    def password_file(self, role: str) -> Path:
        """A role's password, in a file as libpq reads it."""
        entry = f"127.0.0.1:{self.port}:*:{role}:{self._folder.password(f'postgresql-{role}')}\n"
        return self._folder.write_secret(f"pgpass-{role}", entry)

    def start(self) -> None:
        """See Service."""
        directory = self._directory()
        if not (directory / "data" / "PG_VERSION").exists():
            self._make_cluster(directory)
        settings = [word for setting in self._settings for word in ("-c", setting)]
        command = [program("postgres", "postgresql", f"{_DEBIAN}/postgres"), "-D", str(directory / "data")]
        self.daemon.start([*_as_user(), *command, "-p", str(self.port), *settings])

    def answers(self) -> bool:
        """See Service."""
        import psycopg

        self.daemon.check()
        try:
            self._connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def prepare(self) -> None:
        """See Service."""
        from psycopg import sql

        with closing(self._connect()) as connection:
            for role, databases in _DATABASES.items():
                # As a verifier: a statement with the password itself might be logged.
                password = self._folder.password(f"postgresql-{role}").encode()
                verifier = connection.pgconn.encrypt_password(password, role.encode(), b"scram-sha-256").decode()
                known = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,)).fetchone()
                verb = "ALTER" if known else "CREATE"
                statement = sql.SQL(verb + " ROLE {} LOGIN PASSWORD {}")
                connection.execute(statement.format(sql.Identifier(role), sql.Literal(verifier)))
                for database in databases:
                    if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (database,)).fetchone():
                        continue
                    names = (sql.Identifier(database), sql.Identifier(role))
                    connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(*names))
                    connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(names[0]))

    def stop(self) -> None:
        """See Service. Connections are closed, not waited for."""
        self.daemon.stop(signal.SIGINT)

    def directory(self) -> Path | None:
        """Where the cluster is, if it was made."""
        return self._link.resolve() if self._link.exists() else None

    def _directory(self) -> Path:
        """The stack's folder holds the cluster; where its user cannot get there, a link to one that Debian's may."""
        if self._link.exists():
            return self._link.resolve()
        if os.geteuid() != 0 or _may_be_entered(self._folder.path):
            self._link.mkdir(mode=0o700)
            directory = self._link
        else:
            directory = Path(tempfile.mkdtemp(prefix="slipway-stack-", dir=_HOME))
            self._link.symlink_to(directory)
        if os.geteuid() == 0:
            user = pwd.getpwnam(_USER)
            os.chown(directory, user.pw_uid, user.pw_gid)
        return directory

    def _make_cluster(self, directory: Path) -> None:
        making = directory / "making"  # a cluster that was killed while it was made looks like one
        shutil.rmtree(making, ignore_errors=True)
        password = directory / "password"
        password.touch(0o600)
        password.write_text(self._folder.password("postgresql-owner"), encoding="ascii")
        os.chown(password, directory.stat().st_uid, directory.stat().st_gid)
        command = [program("initdb", "postgresql", f"{_DEBIAN}/initdb"), "-D", str(making)]
        flags = ["-A", "scram-sha-256", "-U", _OWNER, f"--pwfile={password}", "-E", "UTF8", "--no-locale"]
        done = subprocess.run(
            [*_as_user(), *command, *flags, "--no-instructions"],
            cwd=directory,
            capture_output=True,
            text=True,
            check=False,
        )
        password.unlink()
        if done.returncode:
            raise SlipwayError(f"{directory}: initdb failed: {done.stderr.strip()}. Remove that directory, try again.")
        making.rename(directory / "data")

    def _connect(self) -> "psycopg.Connection":
        import psycopg

        password = self._folder.password("postgresql-owner")
        return psycopg.connect(
            self.url("postgres", _OWNER), password=password, autocommit=True, connect_timeout=5, client_encoding="utf8"
        )


def _as_user() -> tuple[str, ...]:
    if os.geteuid() != 0:
        return ()
    return ("setpriv", f"--reuid={_USER}", f"--regid={_USER}", "--clear-groups", "--")


def _may_be_entered(path: Path) -> bool:
    return all(each.stat().st_mode & 0o001 for each in (path, *path.parents))
