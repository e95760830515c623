"""The way of a model over the real parts: PostgreSQL and S3 behind MLflow, S3 as base path, a server of its mirror."""

import json
import secrets
import urllib.request

import pytest

from registry.register import MANIFEST_DIGEST
from serving.stores import open_store
from slipway.statement import Statement, TrustedKeys
from tests.pipeline.lifecycle_world import NETWORK, World, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

TRAININGS = {
    1: ("--epochs", "1", "--batch-size", "64"),
    2: ("--epochs", "1", "--batch-size", "64", "--seed", "1"),
}
LIVE_S = 120


class StackWorld(World):
    """A model on the stack's own services; its commands take the stack's configuration and environment."""

    def __init__(self, folder, stack, name):
        super().__init__(folder)
        self.stack = stack
        self.uri = stack.mlflow.url
        self.name = name
        self.config = ("--config", stack.folder.path / "slipway.yaml")

    @property
    def environment(self):
        return {**super().environment, **self.stack.environment}

    def made(self, number):
        """Train, evaluate and register a version by the commands that each one says come next."""
        done = self.ran("train", *self.config, *NETWORK, *TRAININGS[number])
        done = self.ran(*done.next_words, *self.config)
        done = self.ran(*done.next_words, *self.config, "--name", self.name)
        assert f"version {number}" in done.out

    def ran(self, *words):
        done = self.run(*words)
        assert done.code == 0, done.out + done.err
        return done

    def wanted_live(self, number):
        """What a click in MLflow's UI does, for a model that is tagged to be served; wait until it answers."""
        from mlflow import MlflowClient

        MlflowClient(self.uri).set_registered_model_tag(self.name, "slipway.serving", "true")
        self.registry.set_alias(self.name, "champion", number)
        self.answers(number)
        wait_until(lambda: self.deployed(number) == "live", self.logs, LIVE_S)

    def deployed(self, number):
        """What the registry says became of a version."""
        return self.registry.version(self.name, number).tags.get("slipway.deploy")

    def answers(self, number):
        """Wait until the stack's model server answers from that version."""
        wait_until(lambda: self.answering() == number, self.logs, LIVE_S, 0.2)

    def answering(self):
        """The version that answers a request which names none."""
        rest = self.stack.addresses["predictions, REST"]
        image = [[[0.0] * 3] * 32] * 32
        body = json.dumps({"instances": [image]}).encode()
        token = (self.stack.folder.path / "secrets" / "token-slipway").read_text()
        headers = {"Authorization": f"Bearer {token}"}
        request = urllib.request.Request(f"{rest}/v1/models/{self.name}:predict", body, headers)
        with urllib.request.urlopen(request, timeout=30) as response:
            return int(response.headers["x-slipway-version"])

    def logs(self):
        """What the stack's followers said."""
        logs = self.stack.folder.path / "log"
        return "\n".join((logs / f"{name}.log").read_text()[-4000:] for name in ("reconciler", "sync", "model-server"))


@pytest.fixture
def world(signed_in, tmp_path):
    return StackWorld(tmp_path, signed_in, f"digits-{secrets.token_hex(3)}")


def test_trained_registered_signed_promoted_in_mlflow_reconciled_to_s3_mirrored_served_and_rolled_back(world, stack):
    for number in TRAININGS:
        world.made(number)
        world.wanted_live(number)
    trusted = TrustedKeys(stack.folder.path / "trusted")
    for place in ("s3://slipway/models", str(stack.folder.path / "base")):
        store = open_store(place)
        assert store.versions(world.name) == (1, 2)
        for number in TRAININGS:
            digest = world.registry.version(world.name, number).tags[MANIFEST_DIGEST]
            trusted.verify(store.signature(world.name, number), Statement(world.name, number, digest))
    objects = stack.s3.client("mlflow").list_objects_v2(Bucket="mlflow", Prefix="artifacts/")
    assert objects["KeyCount"] > 0, "MLflow keeps its artifacts in S3"

    picture = min((stack.folder.path / "work" / "digits" / "7").iterdir())
    rest = stack.addresses["predictions, REST"]
    predicted = json.loads(world.ran("predict", "--name", world.name, "--address", rest, "--json", picture).out)
    assert predicted["predictions"][0]["version"] == "2"

    rolled = world.ran("rollback", world.name, *world.config, "--reason", "a test")
    assert "version 1" in rolled.out
    world.answers(1)
    assert world.registry.aliases(world.name)["champion"] == 1
    history = json.loads(world.ran("history", world.name, "--json").out)
    assert [(row["action"], row["to_version"]) for row in history] == [("promote", 1), ("promote", 2), ("rollback", 1)]
    world.ran("verify", "--ledger")
