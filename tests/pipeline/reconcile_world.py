"""Versions without TensorFlow, a server that follows the base path, and passes over them within this process."""

from contextlib import closing, contextmanager
from dataclasses import dataclass

from pipeline.config import load_config
from pipeline.reconcile.followers import Followers, Place
from pipeline.reconcile.reconcile import reconcile_once
from pipeline.reconcile.world import World as Scene
from pipeline.reconcile.world import read_listing
from serving.client import connect
from serving.client.server_status import ServerStatus
from serving.stores import open_store
from tests.pipeline.lifecycle_world import World, background, free_ports, wait_until
from tests.pipeline.registered_world import RegisteredWorld
from tests.serving.model_server.servables import WEIGHTS, png

NAME = "digits"
OTHER = WEIGHTS * 0.5


class ReconcileWorld(RegisteredWorld):
    """A folder with versions of `digits`: 1, 2 and 3 are good, 4 answers its golden requests otherwise."""

    def __init__(self, folder, *, made=True):
        """`made`: make the folder's registry; else it is there."""
        if made:
            super().__init__(folder)
            self.base.mkdir()
        else:
            World.__init__(self, folder)
        self.addresses = "none"

    def config(self, **settings):
        keys = {f"reconcile.{key}": value for key, value in settings.items()}
        where = {"name": NAME, "base": str(self.base), "workdir": str(self.folder / "work")}
        return load_config(None, {"reconcile.servers": self.addresses, "reconcile.load_timeout_s": 60} | where | keys)

    @contextmanager
    def scene(self, **settings):
        config = self.config(**settings)
        place = Place(open_store(str(self.base)), self.folder / "verify.log")
        followers = Followers(config.reconcile.addresses, place)
        with closing(followers):
            yield Scene(config, self.registry, self.ledger, followers, say=lambda _text: None)

    def once(self, **settings):
        """One pass; its report on `digits`, and the exit code."""
        with self.scene(**settings) as scene:
            return reconcile_once(scene, (NAME,))

    def words(self):
        """Options that make a command meet this world."""
        return ("--name", NAME, "--base", self.base, "--servers", self.addresses)

    def champion(self, version):
        self.registry.set_alias(NAME, "champion", version)

    def only_live(self, version):
        """That version is live, nothing else is wanted, and no version tells of what it went through."""
        for alias in ("champion", "challenger"):
            self.registry.delete_alias(NAME, alias)
        for each in self.registry.versions(NAME):
            if each.stage not in {"None", "Archived"}:
                self.registry.set_stage(NAME, each.version, "Archived")
            told = [key for key in each.tags if "deploy" in key or "rolled" in key]
            self.registry.delete_tags(NAME, each.version, told)
        self.champion(version)
        report = self.once()
        assert report.exit_code == 0, report

    def tags(self, version):
        return self.registry.version(NAME, version).tags

    def listing(self):
        with self.scene() as scene:
            return read_listing(scene, NAME)

    def everywhere(self):
        """What the registry, the ledger and both config files have live."""
        labels, models = self.listing()
        aliases = self.registry.aliases(NAME)
        entries = [each for each in self.ledger.entries(NAME) if each.alias == "champion"]
        return {
            "alias": aliases.get("champion"),
            "production": [each.version for each in self.registry.versions(NAME) if each.stage == "Production"],
            "ledger": self.ledger.champions(NAME)[-1] if entries else None,
            "labels": labels.labels.get("stable"),
            "models": max(models.versions, default=None),
        }

    def assert_live(self, version):
        found = self.everywhere()
        assert found == {
            "alias": version,
            "production": [version],
            "ledger": version,
            "labels": version,
            "models": version,
        }
        self.ledger.verify_chain()


@dataclass(frozen=True)
class Server:
    rest: int
    grpc: int

    @property
    def address(self):
        return f"grpc://127.0.0.1:{self.grpc}"

    def answers_from(self):
        """The version that answers a request which names none."""
        import numpy as np

        with closing(connect(self.address, NAME)) as client:
            return int(client.predict([png(np.zeros((6, 4, 3), np.uint8))])[0].version)


@contextmanager
def follower(world, file="labels.config"):
    """A server without TensorFlow that follows one of the config files, as `file` is followed."""
    if not (world.base / file).exists():
        (world.base / file).write_text("model_config_list {}")
    rest, grpc = free_ports()
    flags = (*world.server_flags(file), f"--rest_api_port={rest}", f"--port={grpc}")
    log = world.folder / f"{file}.log"
    with background(world, *flags, module="serving.model_server", log=log):
        server = Server(rest, grpc)

        def answers():
            with closing(ServerStatus(server.address, 2)) as status:
                try:
                    status.versions(NAME)
                except Exception:  # noqa: BLE001 - it is starting
                    return False
                return True

        wait_until(answers, log.read_text, timeout_s=60)
        world.addresses = server.address if world.addresses == "none" else f"{world.addresses},{server.address}"
        yield server
