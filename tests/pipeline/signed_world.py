"""A registry with versions that the good key has signed, and commands that ask for that. See `tests.signed`."""

import shutil

from pipeline.config import load_config
from registry.register import MANIFEST_DIGEST
from registry.signing import SIGNATURE, sign_version
from serving.servable.layout import published_path
from tests.pipeline.reconcile_world import NAME, OTHER, ReconcileWorld
from tests.signed import make_keys


class SignedWorld(ReconcileWorld):
    """Versions 1 and 2 of `digits`, signed. See Place: it writes to the artifact store and to the registry."""

    def __init__(self, folder):
        super().__init__(folder)
        self.keys = make_keys(folder / "keys")
        for weights in ({}, {"weights": OTHER}):
            self.sign_version(self.version(NAME, **weights).version, self.keys.good)

    def config(self, **settings):
        config = super().config(**settings)
        return load_config(
            None,
            {
                "name": NAME,
                "base": config.base,
                "workdir": config.workdir,
                "reconcile.servers": self.addresses,
                "reconcile.load_timeout_s": 60,
                "gate.require_signature": True,
                "signing.trusted_keys": str(self.keys.trusted),
            }
            | {f"reconcile.{key}": value for key, value in settings.items()},
        )

    def server_flags(self, file="labels.config"):
        return (*super().server_flags(file), f"--trusted_keys={self.keys.trusted}")

    def words(self):
        return (*super().words(), *self.signing_words())

    def signing_words(self):
        """Options that have a command ask for signatures."""
        return ("--require-signature", "true", "--trusted-keys", self.keys.trusted)

    def sign_version(self, number, signer):
        return sign_version(self.registry, self.registry.version(NAME, number), signer)

    def artifact(self, path, version=2):
        return self.servable(version, NAME) / path

    def read(self, path):
        return self.artifact(path).read_bytes()

    def write(self, path, data):
        self.artifact(path).unlink() if data is None else self.artifact(path).write_bytes(data)

    def sign(self, signer):
        self.sign_version(2, signer)

    def put_older_back(self):
        older = self.registry.version(NAME, 1)
        shutil.rmtree(self.servable(2, NAME))
        shutil.copytree(self.servable(1, NAME), self.servable(2, NAME))
        self.registry.set_tags(NAME, 2, {key: older.tags[key] for key in (MANIFEST_DIGEST, SIGNATURE)})


class PublishedPlace:
    """The same version where it is published. See Place."""

    def __init__(self, world):
        self.world = world

    def _file(self, path):
        return self.world.base / NAME / "2" / published_path(path)

    def read(self, path):
        return self._file(path).read_bytes()

    def write(self, path, data):
        self._file(path).unlink() if data is None else self._file(path).write_bytes(data)
