"""One turn of the mirror: versions first, then the config files that name them, and last what is there no more."""

import logging
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from serving.servable.layout import EXTRA, MANIFEST, published_path
from serving.servable.manifest import FileEntry, read_manifest
from serving.stores import Store
from serving.sync.config_files import CONFIGS, ConfigFiles, Places, Version, read
from serving.traffic import TRAFFIC_FILE
from slipway.errors import InputError, IntegrityError, NotFoundError, SlipwayError, UnavailableError
from slipway.files import sha256_file
from slipway.statement import Statement, TrustedKeys

_AGAIN_S = 300.0  # until what was refused is fetched again: somebody may have mended it
_LOG = logging.getLogger(__name__)


@dataclass
class Turn:
    """What a turn did, and what it could not do."""

    fetched: list[Version] = field(default_factory=list)
    removed: list[Version] = field(default_factory=list)
    refused: dict[Version, str] = field(default_factory=dict)  # not what was sealed, or not signed by whom we trust
    left: list[str] = field(default_factory=list)  # what waits for something else


class Only(NamedTuple):
    """What is mirrored: the models `names`, or all; of them that version alone, and no config file, if it is given."""

    names: Collection[str] = ()
    version: int | None = None

    def takes(self, version: int) -> bool:
        """Whether a version of these models is one of them."""
        return self.version is None or version == self.version


class _Refusal(NamedTuple):
    digest: str  # of the manifest
    reason: str
    again_at: float


class Mirror:
    """Mirrors what is asked for of `remote` to `local`.

    Nobody else writes there, but for mirrors of models with other names.
    """

    def __init__(
        self,
        remote: Store,
        local: Store,
        places: Places,
        only: Only = Only(),  # noqa: B008 - it cannot be changed
        clock: Callable[[], float] = time.monotonic,
        trusted_keys: Path | None = None,
    ) -> None:
        """trusted_keys: of whoever must have signed each version; None: nobody need have."""
        self._remote = remote
        self._local = local
        self._places = places
        self._names, self._only = frozenset(only.names), only
        self._config_files = ConfigFiles(remote, local, places)
        self._clock = clock
        self._trusted_keys = trusted_keys
        self._refused: dict[Version, _Refusal] = {}
        self._said: dict[Version, str] = {}

    def turn(self, moved: Callable[[], None] = lambda: None) -> Turn:
        """Make `local` as `remote` is, a version at a time: one that cannot be brought keeps no other waiting.

        moved: called whenever a version is begun, or bytes have come, by several threads.

        A `remote` that is away as a whole is raised, and what is there already stays; but for versions that nobody who
        is trusted has signed: these go first, also while `remote` is away. InputError if the trusted keys cannot be
        read: then nothing goes.
        """
        turn, keys = Turn(), self._keys()
        self._put_out(keys, turn)
        found = [name for name in self._remote.names() if not self._names or name in self._names]
        all_there = ((name, version, said) for name in found for version, said in self._remote.digests(name).items())
        wanted = {(name, version): said for name, version, said in all_there if self._only.takes(version)}
        there = self._there()
        if not wanted and there and not self._configured_there():
            turn.left.append(
                f"{self._places.remote}: holds no version and no config file; what is here stays. Look whether it is "
                "the right base path; to have all of it gone, empty the directory."
            )
            return turn
        for name in sorted(self._names.difference(found)):
            turn.left.append(
                f"--model {name}: {self._places.remote} holds no version of it; what is here of it stays. Look "
                "whether that is its name; to have it gone, remove its directory here."
            )
        others = {each for each, said in wanted.items() if each in there and (not said or there[each] != said)}
        for name, version in sorted(wanted, reverse=True):  # the highest first: it is probably waited for
            moved()
            with self._alone(name, version, turn):
                here = there.get((name, version))
                if here is None:
                    self._fetch(name, version, keys, turn, moved)
                elif (name, version) in others and self._remote.bundle(name, version).manifest_digest != here:
                    self._refuse_other(name, version, turn)
                else:
                    others.discard((name, version))
                    self._sign_again(name, version, keys, turn)
        if self._only.version is None:
            listed = self._config_files.follow(found if self._names else None, self._there().keys() - others, turn.left)
            gone = there.keys() - wanted.keys() - listed
            self._remove({each: there[each] for each in gone if not self._names or each[0] in found}, turn)
        else:
            self._miss(set(found).difference(name for name, _ in wanted), turn)
        return turn

    def _remove(self, gone: dict[Version, str], turn: Turn) -> None:
        """Remove versions that S3 has no more; without a manifest's digest a directory is somebody else's."""
        for name, version in sorted(each for each, digest in gone.items() if digest):
            self._local.remove(name, version)
            turn.removed.append((name, version))

    def _miss(self, names: set[str], turn: Turn) -> None:
        for name in sorted(names):
            turn.left.append(
                f"--version {self._only.version}: {self._places.remote} holds no such version of {name}; what is here "
                "of it stays. Look whether that is its number."
            )

    @contextmanager
    def _alone(self, name: str, version: int, turn: Turn) -> Iterator[None]:
        """Have what is raised about one version be said, unless `remote` is away as a whole."""
        try:
            yield
        except IntegrityError as error:
            self._refuse(name, version, str(error), turn)
        except SlipwayError as error:
            if isinstance(error, UnavailableError | InputError):
                self._check_answers()
            turn.left.append(f"{name} version {version}: {error}")
        except Exception as error:  # noqa: BLE001 - whatever it is, it keeps no other version waiting
            turn.left.append(f"{name} version {version}: {type(error).__name__}: {error}")

    def _check_answers(self) -> None:
        """Whatever a small request raises: then no other version is to be tried."""
        with suppress(IntegrityError):
            read(self._remote, TRAFFIC_FILE)

    def _configured_there(self) -> bool:
        return any(read(self._remote, file) is not None for file in CONFIGS)

    def _there(self) -> dict[Version, str]:
        """The versions that are here, and their manifests' digests."""
        return {
            (name, version): digest
            for name in self._local.names()
            for version, digest in self._local.digests(name).items()
        }

    def put_out(self) -> None:
        """What each turn does first, with what is here already: before somebody is told that it is ready."""
        self._put_out(self._keys(), Turn())

    def _keys(self) -> TrustedKeys | None:
        return None if self._trusted_keys is None else TrustedKeys(self._trusted_keys)

    def _put_out(self, keys: TrustedKeys | None, turn: Turn) -> None:
        """Remove what is here and is not signed by a trusted key any more, unless it has been signed again."""
        if keys is None:
            return
        for name, version in sorted(self._there()):
            try:
                bundle = self._local.bundle(name, version)
                statement = Statement(name, version, bundle.manifest_digest)
                problem = _problem(keys, bundle.signature, statement)
                if not problem or not _problem(keys, self._remote_signature(name, version), statement):
                    continue
            except (IntegrityError, NotFoundError) as error:
                problem = str(error)
            self._refuse(name, version, f"removed here, where it may have been served: {problem}", turn)
            self._local.remove(name, version)
            turn.removed.append((name, version))

    def _remote_signature(self, name: str, version: int) -> bytes | None:
        """None also where the server is away, or refuses us: what is here is then judged by what is here."""
        try:
            return self._remote.signature(name, version)
        except SlipwayError:
            return None

    def _sign_again(self, name: str, version: int, keys: TrustedKeys | None, turn: Turn) -> None:
        """Have the signature here that is there; what is here has a good one, and keeps it if the other is not."""
        try:
            signature = self._remote.signature(name, version)
            if signature == self._local.signature(name, version) or (signature is None and keys is None):
                return
            bundle = self._local.bundle(name, version)
            if keys is not None:
                keys.verify(signature, Statement(name, version, bundle.manifest_digest))
            self._local.publish(name, version, replace(bundle, signature=signature))
        except (IntegrityError, NotFoundError) as error:
            self._refuse(name, version, f"what is here stays as it is: {error}", turn)

    def _refuse_other(self, name: str, version: int, turn: Turn) -> None:
        directory = Path(self._places.local, name, str(version))
        reason = (
            f"{directory} is another servable than {self._places.remote}/{name}/{version}; expected the same one under "
            "that number. What is here stays, and so do config files that name it: look whether the base path is the "
            f"right one, then remove {directory} to have the other one fetched."
        )
        self._refuse(name, version, reason, turn)

    def _refuse(self, name: str, version: int, reason: str, turn: Turn) -> None:
        turn.refused[name, version] = reason
        if self._said.get((name, version)) != reason:
            self._said[name, version] = reason
            _LOG.error("%s version %d is refused: %s", name, version, reason)

    def _fetch(self, name: str, version: int, keys: TrustedKeys | None, turn: Turn, moved: Callable[[], None]) -> None:
        bundle = self._remote.bundle(name, version, lambda entry: self._at_hand(name, entry), lambda _size: moved())
        if keys is not None:
            keys.verify(bundle.signature, Statement(name, version, bundle.manifest_digest))
        before = self._refused.get((name, version))
        if before is not None and before.digest == bundle.manifest_digest and self._clock() < before.again_at:
            turn.refused[name, version] = before.reason
            return
        try:
            self._local.publish(name, version, bundle)
        except IntegrityError as error:
            self._refused[name, version] = _Refusal(bundle.manifest_digest, str(error), self._clock() + _AGAIN_S)
            raise
        for said in (self._refused, self._said):
            said.pop((name, version), None)
        turn.fetched.append((name, version))

    def _at_hand(self, name: str, entry: FileEntry) -> Path | None:
        """The same file of another version of the model, whole."""
        for version in self._local.versions(name):
            directory = Path(self._places.local, name, str(version))
            try:
                manifest = read_manifest(directory / EXTRA / MANIFEST)
            except IntegrityError:  # somebody else's directory
                continue
            for path, other in manifest.files.items():
                file = directory / published_path(path)
                if other == entry and file.is_file() and sha256_file(file) == entry.sha256:
                    return file
        return None


def _problem(keys: TrustedKeys, signature: bytes | None, statement: Statement) -> str:
    try:
        keys.verify(signature, statement)
    except IntegrityError as error:
        return str(error)
    return ""
