"""The mirror's config files: each becomes as the remote one is, once every version that it names is there."""

from collections.abc import Collection
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import partial

from serving.model_config import LABELS_CONFIG, MODELS_CONFIG, all_listed, joined, narrowed, rebased
from serving.page_file import PAGE_FILE
from serving.stores import Store
from serving.traffic import TRAFFIC_FILE
from slipway.errors import SlipwayError, UnavailableError

CONFIGS = (LABELS_CONFIG, MODELS_CONFIG)
_AS_THEY_ARE = (TRAFFIC_FILE, PAGE_FILE)  # they name no place

Version = tuple[str, int]  # of a model


@dataclass(frozen=True)
class Places:
    """Two base paths as model configs write them."""

    remote: str
    local: str


@dataclass(frozen=True)
class ConfigFiles:
    """The config files of the base path `remote`, mirrored to `local`."""

    remote: Store
    local: Store
    places: Places

    def follow(self, names: Collection[str] | None, there: AbstractSet[Version], left: list[str]) -> set[Version]:
        """Have them say of the models `names` what the remote ones do; of all, and of no other, if that is None.

        there: the versions that they may name. left: is told of each file that stays as it was.
        Returns the versions that they name now. UnavailableError if `remote` is away.
        """
        kept: set[Version] = set()
        for file in CONFIGS:
            present = read(self.local, file)
            try:
                remote = read(self.remote, file)
                wanted = None if remote is None else self._rebased(remote, file, names)
                missing = all_listed(wanted, file) - there
                if missing:
                    which = ", ".join(f"{name} version {version}" for name, version in sorted(missing))
                    left.append(f"{file} stays as it was until {which} is there")
                else:
                    present = self.local.update_file(file, partial(_beside_others, file, names, wanted))
            except UnavailableError:
                raise
            except SlipwayError as error:
                left.append(f"{file} stays as it was: {error}")
            kept |= all_listed(present, file)
        for file in _AS_THEY_ARE:
            try:
                found = read(self.remote, file)
                self.local.update_file(file, partial(_replaced, found))
            except UnavailableError:
                raise
            except SlipwayError as error:
                left.append(f"{file} stays as it was: {error}")
        return kept

    def _rebased(self, content: bytes, file: str, names: Collection[str] | None) -> bytes:
        asked = content if names is None else narrowed(content, file, names.__contains__)
        return rebased(asked, file, self.places.remote, self.places.local)


def read(store: Store, file: str) -> bytes | None:
    """The content of a small file of the base path; None if it is not there."""
    return store.update_file(file, lambda content: content)


def _replaced(found: bytes | None, _present: bytes | None) -> bytes | None:
    return found


def _beside_others(
    file: str, names: Collection[str] | None, wanted: bytes | None, present: bytes | None
) -> bytes | None:
    """What is `wanted`, and of models other than `names` what is `present`: others may mirror those to this place."""
    if names is None or present is None:
        return wanted
    others = narrowed(present, file, lambda name: name not in names)
    return others if wanted is None else joined(wanted, others, file)
