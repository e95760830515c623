import contextlib
import os
import re
import signal
import threading
import time

import numpy as np
import psutil
import pytest

from pipeline.reconcile.scoring_server import ScoringAddress, ScoringServer
from pipeline.reconcile.serving import RefusedError, Waiting
from pipeline.serve import fetched_model
from registry.deployment import DEPLOY
from serving.client import connect
from slipway.errors import SlipwayError, UnavailableError
from tests.pipeline.lifecycle_world import background, free_ports, wait_until
from tests.pipeline.scoring_models import LOADER, NAME, ScoringWorld, weights
from tests.serving.model_server.servables import SIZE, answers, png

pytestmark = pytest.mark.integration

PICTURES = np.random.default_rng(1).integers(0, 256, (100, *SIZE, 3), np.uint8)
SEEDS = {1: 0, 2: 3}  # of versions 1 and 2
BROKEN = LOADER.replace("    return Network(", "    raise OSError('weights are gone')\n    return Network(")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Versions 1 and 2 are good, 3 answers otherwise than its golden requests say, 4 cannot be loaded."""
    world = ScoringWorld(tmp_path_factory.mktemp("scoring"))
    for seed in SEEDS.values():
        world.scored_version(seed)
    world.scored_version(0, spoiled=True)
    world.scored_version(
        0, loader=LOADER.replace("return Network", "raise OSError('weights are gone'); return Network")
    )
    return world


@pytest.fixture(scope="module")
def said():
    return []


@pytest.fixture(scope="module")
def started(world, said):
    address = ScoringAddress(NAME, "127.0.0.1", free_ports(1)[0], world.folder / "logs" / "serve.log")
    with contextlib.closing(ScoringServer(address, world.registry, fetched_model, said.append)) as server:
        yield server, address
    assert owner(address.port) is None, "a server outlived the one who started it"


@pytest.fixture
def server(started):
    """Serves version 1."""
    started[0].keep_serving(1)
    return started[0]


@pytest.fixture
def address(started):
    return started[1]


@pytest.fixture
def waiting():
    return Waiting(120, lambda: None)


def owner(port):
    """The process that listens on a port."""
    listening = [each for each in psutil.net_connections("tcp") if each.status == psutil.CONN_LISTEN]
    return next((each.pid for each in listening if each.laddr.port == port), None)


def ask(address):
    """What is served at the address answers to one picture."""
    with contextlib.closing(connect(address.url, NAME, timeout_s=20)) as client:
        return np.array(client.predict([png(PIXELS[0])])[0].output)


def load_and_verify(server, version, waiting):
    server.await_loaded(version, waiting)
    return server.verify(version)


def right(version):
    return answers(PIXELS, weights(SEEDS[version]))[0]


# A picture that the two versions take for different things.
PIXELS = next(
    picture[None]
    for picture in PICTURES
    if len({answers(picture[None], weights(seed)).argmax() for seed in SEEDS.values()}) == 2
)


def version_of(answer):
    """Which version answers so."""
    fits = [number for number in SEEDS if np.allclose(answer, right(number), atol=1e-4)]
    return fits[0] if fits else f"neither answers {answer}"


def ask_if_there(address):
    try:
        return version_of(ask(address))
    except SlipwayError:
        return None


class Caller:
    """Asks again and again; keeps when what answered, or that nothing did."""

    def __init__(self, address):
        self.seen = []
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.call, args=(address,))

    def call(self, address):
        while not self.stop.wait(0.02):
            began = time.monotonic()
            try:
                self.seen.append((began, version_of(ask(address))))
            except UnavailableError:
                self.seen.append((began, None))
            except SlipwayError as error:
                self.seen.append((began, str(error)))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exception):
        self.stop.set()
        self.thread.join(30)


def test_a_promotion_in_mlflow_puts_a_version_in_the_place_of_another_and_the_gap_is_the_one_that_is_said(world):
    address = ScoringAddress(NAME, "127.0.0.1", free_ports(1)[0], world.folder / ".slipway" / "mlflow-serve.log")
    flags = ("--name", NAME, "--interval", "1", "--target", "mlflow", "--rest-port", address.port)
    log = world.folder / "watch.log"
    world.registry.set_alias(NAME, "champion", 1)
    with background(world, "reconcile", "--watch", *flags, log=log) as watcher:
        wait_until(lambda: ask_if_there(address) == 1, log.read_text, 120, 0.5)
        with Caller(address) as caller:
            world.registry.set_alias(NAME, "champion", 2)
            wait_until(lambda: caller.seen and caller.seen[-1][1] == 2, log.read_text, 120)
            wait_until(lambda: world.registry.version(NAME, 2).tags.get(DEPLOY) == "live", log.read_text, 30)
        watcher.terminate()
        assert watcher.wait(30) == 0
    versions = [version for _, version in caller.seen]
    assert [*dict.fromkeys(versions)] == [1, None, 2]
    assert versions == sorted(versions, key=[1, None, 2].index), "it went back and forth"
    unanswered = [began for began, version in caller.seen if version is None]
    stated = float(re.search(r"in place of version 1; nothing answered for ([\d.]+) s", log.read_text())[1])
    assert stated - 2 < unanswered[-1] - unanswered[0] <= stated
    assert world.ledger.champions(NAME) == (1, 2)
    assert owner(address.port) is None, "a server outlived the one who started it"


@pytest.mark.parametrize(
    ("number", "reason"), [(3, "golden answers differ.* 64 with another"), (4, "weights are gone")]
)
def test_what_is_live_is_left_alone_when_a_version_is_refused(server, address, world, waiting, number, reason):
    before = owner(address.port)
    version = world.registry.version(NAME, number)
    with pytest.raises(RefusedError, match=reason) as refusal:
        load_and_verify(server, version, waiting)
    assert len(str(refusal.value)) < 500
    assert "\n" not in str(refusal.value)
    assert owner(address.port) == before
    assert np.allclose(ask(address), right(1), atol=1e-4)
    assert server.report(NAME)[0].live == 1


def test_a_server_that_died_is_noticed_and_started_again(server, address):
    os.kill(owner(address.port), signal.SIGKILL)
    wait_until(lambda: server.report(NAME)[0].live is None, "its death is not noticed", 10)
    server.keep_serving(1)
    assert np.allclose(ask(address), right(1), atol=1e-4)


def test_another_model_is_not_served_here(server, address):
    (report,) = server.report("letters")
    assert report.left_out == f"it serves {NAME} alone"
