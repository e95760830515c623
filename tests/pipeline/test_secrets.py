"""No secret is printed, logged, recorded, or shown by `ps`: whatever is run, and however it fails."""

import base64
import secrets
import threading
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import requests
from PIL import Image

from serving.stores import open_store
from tests.browser.team_world import TeamWorld
from tests.pipeline.lifecycle_world import World, background, free_ports, wait_until

HIDDEN = "hidden0secret"
NETWORK = ("--network", "tiny", "--image-size", "32", "--epochs", "1", "--batch-size", "8", "--minimum-accuracy", "0")


def forms(secret, user=""):
    """How a secret may look: as it is, and in the header of a login."""
    return [secret.encode(), base64.b64encode(secret.encode()), base64.b64encode(f"{user}:{secret}".encode())]


class Secrets:
    """Secrets by what they are, and what was found of them where."""

    def __init__(self, known):
        self._forms = {name: forms(*each) for name, each in known.items()}
        self.found = set()
        self.looked_at = 0

    def look(self, place, data):
        self.looked_at += 1
        self.found |= {f"{name} in {place}" for name, each in self._forms.items() if any(form in data for form in each)}

    def look_below(self, folder, passed_over=()):
        for file in sorted(folder.rglob("*")):
            if file.is_file() and file.name not in passed_over:
                self.look(file, file.read_bytes())

    @contextmanager
    def watching(self, folder):
        """Look at every process's command line, and at files below `folder` that may be gone later, all the while."""
        done = threading.Event()

        def watch():
            while not done.wait(0.1):
                for process in Path("/proc").glob("[0-9]*"):
                    try:
                        self.look(f"the command line of {process}", (process / "cmdline").read_bytes())
                    except OSError:  # it has ended
                        continue
                for file in [*folder.glob("*"), *folder.glob("*/*")]:
                    try:
                        self.look(file, file.read_bytes())
                    except OSError:  # a folder, or gone
                        continue

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


class SecretWorld(TeamWorld):
    """A team's world in which every secret that there can be is set."""

    def __init__(self, folder, server, database_url, name, endpoint):
        super().__init__(folder, server, database_url, name)
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        own = {
            "AWS_SECRET_ACCESS_KEY",
            "AWS_SESSION_TOKEN",
            "SLIPWAY_WEBHOOK_SECRET",
            "SLIPWAY_SIGNING_PASSPHRASE",
            "SLIPWAY_TOKEN",
        }
        self.own = {name: f"{HIDDEN}{secrets.token_hex(12)}" for name in own}
        self.more = {
            "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL_S3": endpoint,
            "TMPDIR": str(self.temporary),
        }

    @property
    def environment(self):
        return {**super().environment, **self.own, **self.more}

    def secrets(self):
        ledger = urlsplit(self.database_url)
        return Secrets(
            {
                **{name: (value,) for name, value in self.own.items()},
                "MLFLOW_TRACKING_PASSWORD": (self.server.password, self.server.username),
                "SLIPWAY_DATABASE_URL": (ledger.password, ledger.username),
            }
        )


@pytest.fixture
def s3_endpoint(tmp_path):
    """An S3 server that takes any key."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    endpoint = "http://{}:{}".format(*server.get_host_and_port())
    requests.put(f"{endpoint}/models", timeout=30).raise_for_status()
    yield endpoint
    server.stop()


def write_pictures(folder):
    """Two classes of ten pictures each."""
    random = np.random.default_rng(5)
    for number in range(20):
        label = ("cat", "dog")[number % 2]
        (folder / label).mkdir(parents=True, exist_ok=True)
        pixels = random.integers(90 * (number % 2), 160 + 90 * (number % 2), (32, 32, 3), np.uint8)
        Image.fromarray(pixels).save(folder / label / f"{number}.png")


def rows_of(postgresql):
    """Every row of every table of every database, as text."""
    import psycopg

    def connected(database):
        return closing(psycopg.connect(postgresql.url(database), autocommit=True))

    tables = "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname = 'public'"
    with connected("postgres") as server:
        databases = server.execute("SELECT datname FROM pg_database WHERE datallowconn").fetchall()
    for (database,) in databases:
        with connected(database) as open_one:
            for (table,) in open_one.execute(tables).fetchall():
                for (row,) in open_one.execute(f"SELECT t::text FROM {table} t"):
                    yield f"{database}: {table}", row


@pytest.mark.integration
@pytest.mark.timeout(900)
def test_a_lifecycle_leaves_no_secret_in_outputs_logs_records_files_or_command_lines(
    tracking_server, postgresql, database_url, unique_name, s3_endpoint, tmp_path, monkeypatch
):
    world = SecretWorld(tmp_path, tracking_server, database_url, unique_name, s3_endpoint)
    write_pictures(tmp_path / "pictures")
    known = world.secrets()
    rest, grpc = free_ports()
    named = ("--name", unique_name, "--base", "s3://models/published")
    server = (*named, "--servers", f"grpc://127.0.0.1:{grpc}")
    with known.watching(world.temporary):
        done = [world.run("keys", "create", "signing.key")]
        assert done[0].code == 0, done[0].err
        training = ("--experiment", unique_name, "--data", "pictures", "--signing-key", "signing.key", *NETWORK)
        done.append(world.run("main", *server, *training))
        assert done[1].code == 0, done[1].err
        ports = ("--rest-port", rest, "--grpc-port", grpc)
        watch = ("reconcile", "--watch", "--webhook-port", free_ports(1)[0], "--interval", "1", *server)
        with (
            background(world, "serve", *named, *ports, log=tmp_path / "serve.log"),
            background(world, *watch, log=tmp_path / "watch.log"),
        ):
            wait_until(lambda: f"serving {unique_name} version 1 at" in world.logs(), world.logs, timeout_s=200)
            wait_until(lambda: "MLflow delivers to" in world.logs(), world.logs, timeout_s=200)
            picture = next((tmp_path / "pictures" / "cat").iterdir())
            commands = (
                ("status", *server),
                ("verify", "--ledger", "--alias", "champion", *named),
                ("predict", picture, "--name", unique_name, "--address", f"127.0.0.1:{rest}", "--json"),
                ("rollback", unique_name, "--base", "s3://models/published"),
                ("history", unique_name),
            )
            processes = [world.start(*words) for words in commands]
            done += [world.finish(process) for process in processes]
            assert [each.code for each in done] == [0, 0, 0, 0, 0, 1, 0], "\n".join(
                each.err[-400:] for each in done[2:]
            )
    for number, each in enumerate(done):
        known.look(f"output {number}", f"{each.out}{each.err}".encode())
    known.look_below(tmp_path)
    known.look_below(tracking_server.folder, passed_over=("basic_auth.ini",))  # the server's own
    for place, row in rows_of(postgresql):
        known.look(place, row.encode())
    assert known.found == set()
    assert known.looked_at > 1000
    for key, value in world.environment.items():
        monkeypatch.setenv(key, value)
    store = open_store("s3://models/published")
    assert store.versions(unique_name) == (1,)
    assert store.signature(unique_name, 1)
    assert "ENCRYPTED" in (tmp_path / "signing.key").read_text()


def test_a_secret_is_found_wherever_it_is(tmp_path):
    """The test above would notice."""
    known = Secrets({"password": (HIDDEN, "ada")})
    login = base64.b64encode(f"ada:{HIDDEN}".encode())
    for number, text in enumerate([b"", b"x" + HIDDEN.encode() + b"y", b"Basic " + login]):
        (tmp_path / str(number)).write_bytes(text)
    known.look_below(tmp_path)
    assert known.found == {f"password in {tmp_path / '1'}", f"password in {tmp_path / '2'}"}


@pytest.fixture
def world(empty_store, tmp_path):
    (tmp_path / "mlflow.db").write_bytes(empty_store.read_bytes())
    return World(tmp_path)


LOGIN = f"ada:{HIDDEN}@"


@pytest.mark.parametrize(
    ("words", "environment"),
    [
        (["status"], {"SLIPWAY_DATABASE_URL": f"postgresql://{LOGIN}127.0.0.1:9/ledger"}),
        (["status"], {"SLIPWAY_DATABASE_URL": f"postgresql://127.0.0.1:9/ledger?user=ada&password={HIDDEN}"}),
        (["status"], {"SLIPWAY_DATABASE_URL": f"oracle://{LOGIN}127.0.0.1/ledger"}),
        (["status"], {"SLIPWAY_DATABASE_URL": f"postgresql://{LOGIN}127.0.0.1:port/ledger"}),
        (["history"], {"SLIPWAY_DATABASE_URL": f"postgresql:/{LOGIN}127.0.0.1/ledger"}),
        (["status"], {"MLFLOW_TRACKING_URI": f"http://{LOGIN}127.0.0.1:9"}),
        (["status"], {"MLFLOW_TRACKING_URI": f"gopher://{LOGIN}127.0.0.1"}),
        (["status", "--base", "s3://models/x"], {"AWS_ENDPOINT_URL_S3": f"http://{LOGIN}127.0.0.1:9"}),
        (["status", "--base", "s3://models/x"], {"AWS_ENDPOINT_URL_S3": f"{LOGIN}127.0.0.1:9"}),
        (["status", "--base", f"s3://{LOGIN}models/x"], {}),
        (["status", "--base", f"ftp://{LOGIN}models/x"], {}),
        (["status", "--s3-endpoint", f"http://{LOGIN}127.0.0.1:9"], {}),
        (["status", "--servers", f"grpc://{LOGIN}127.0.0.1:9"], {}),
        (["train", "--data", f"s3://{LOGIN}models/x"], {}),
        (["predict", "x.png", "--address", f"http://{LOGIN}127.0.0.1:port"], {}),
        (["predict", "x.png", "--address", f"http://{LOGIN}127.0.0.1:9"], {}),
        (["predict", "x.png", "--address", f"{LOGIN}127.0.0.1:9"], {}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "-".join(value),
)
def test_an_error_shows_no_password(world, monkeypatch, words, environment):
    (world.folder / "x.png").write_bytes(b"")
    for name, value in {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": f"{HIDDEN}1"}.items():
        monkeypatch.setenv(name, value)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    world.uri = environment.get("MLFLOW_TRACKING_URI", world.uri)
    done = world.call(monkeypatch, *words)
    assert done.code in {1, 2}
    assert done.error
    assert HIDDEN not in done.out + done.err
