"""The model config files in a base path: which versions a server loads, and which of them is live.

`labels.config` is for a server with `--default_label=stable`: what is live, the champion before it, and candidates are
loaded beside each other, and labels say which is which, so that a promotion or a rollback only moves a label.
`models.config` is for the real TensorFlow Serving: it answers unlabelled requests from the highest version that it
loaded, so it is told the champion alone, and loads candidates as a model of their own, `<name>-canary`.

Both are made from the content that is there, whose other models are kept; pass them to `Store.update_file`.
"""

from collections.abc import Callable, Collection, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import lru_cache

from google.protobuf import text_format

from serving.wire.model_server_config_pb2 import ModelConfig, ModelServerConfig
from slipway.errors import InputError
from slipway.names import check_model_name, check_version, is_model_name

MODELS_CONFIG = "models.config"
LABELS_CONFIG = "labels.config"
STABLE = "stable"
CANARY = "canary"
_EXPECTED = (
    "expected a TensorFlow Serving model_config_list in protobuf's text format. Correct the file, or move it away to "
    "have it written anew."
)


@dataclass(frozen=True)
class Wanted:
    """Which versions of one model servers are to hold. Nothing at all: they are to hold none."""

    champion: int | None = None  # live: it answers requests that name no version
    previous: int | None = None  # loaded beside it where labels are read, so that a rollback loads nothing
    candidate: int | None = None  # loaded to be asked its golden requests; bears no label
    challenger: int | None = None
    canary: bool = False  # the challenger has answered its golden requests, and bears the label `canary`

    @property
    def candidates(self) -> frozenset[int]:
        """What is loaded and not live, and was not live before."""
        both = (self.candidate, self.challenger)
        return frozenset(each for each in both if each is not None and each != self.champion)


@dataclass(frozen=True)
class Listed:
    """What a config file says of one model."""

    versions: frozenset[int] = frozenset()
    labels: Mapping[str, int] = field(default_factory=dict)
    candidates: frozenset[int] = frozenset()  # the versions of `<name>-canary`
    base_paths: frozenset[str] = frozenset()


def canary_name(name: str) -> str:
    """The model as which a server without labels loads the candidates of `name`."""
    return f"{name}-canary"


def labels_listing(base_path: str, wanted: Wanted) -> Listed:
    """What `labels.config` is to say of a model whose versions lie at `base_path`.

    Without a champion there is no version that unlabelled requests may go to: candidates then are models of their own.
    """
    if wanted.champion is None:
        return _listing(frozenset(), {}, wanted.candidates, base_path)
    labels = {STABLE: wanted.champion}
    if wanted.canary and wanted.challenger is not None and wanted.challenger != wanted.champion:
        labels[CANARY] = wanted.challenger
    kept = {wanted.champion} if wanted.previous is None else {wanted.champion, wanted.previous}
    return _listing(kept | wanted.candidates, labels, frozenset(), base_path)


def models_listing(base_path: str, wanted: Wanted) -> Listed:
    """What `models.config` is to say of a model whose versions lie at `base_path`."""
    live: AbstractSet[int] = frozenset() if wanted.champion is None else {wanted.champion}
    return _listing(live, {}, wanted.candidates, base_path)


def labels_config(present: bytes | None, name: str, base_path: str, wanted: Wanted) -> bytes | None:
    """The content of `labels.config`, from the `present` one; None if there was none and nothing is wanted.

    InputError if `present` is no model config list.
    """
    return _updated(present, LABELS_CONFIG, name, labels_listing(base_path, wanted))


def models_config(present: bytes | None, name: str, base_path: str, wanted: Wanted) -> bytes | None:
    """The content of `models.config`, from the `present` one; None if there was none and nothing is wanted.

    InputError if `present` is no model config list.
    """
    return _updated(present, MODELS_CONFIG, name, models_listing(base_path, wanted))


def listed(present: bytes | None, file: str, name: str) -> Listed:
    """What the content of `file` says of `name`. Policies other than a list of versions count as no version."""
    entries = _entries(_read(present or b"", file), file, name)
    own, candidates = entries.get(name), entries.get(canary_name(name))
    return Listed(
        versions=_versions(own),
        labels={} if own is None else {label: int(number) for label, number in own.version_labels.items()},
        candidates=_versions(candidates),
        base_paths=frozenset(entry.base_path for entry in entries.values()),
    )


def narrowed(content: bytes, file: str, keep: Callable[[str], bool]) -> bytes:
    """The content of `file` with the models alone whose directories' names `keep` takes; InputError if it is none."""
    config = _parsed(content, file)
    for entry in list(config.model_config_list.config):
        if not keep(_directory(entry)):
            config.model_config_list.config.remove(entry)
    return text_format.MessageToString(config).encode()


def joined(content: bytes, others: bytes, file: str) -> bytes:
    """The models of both; InputError if one of them is no model config list."""
    config = _parsed(others, file)
    config.MergeFrom(_parsed(content, file))
    return text_format.MessageToString(config).encode()


def rebased(content: bytes, file: str, before: str, after: str) -> bytes:
    """The content of `file` with model base paths below `after` that were below `before`.

    InputError if it is no model config list, or if a model lies elsewhere.
    """
    config = _parsed(content, file)
    for entry in config.model_config_list.config:
        inside = entry.base_path.removeprefix(before.rstrip("/") + "/")
        # Anything but a name would have servers read another directory of this machine.
        if inside == entry.base_path or not is_model_name(inside):
            raise InputError(
                f"{file}: model {entry.name!r:.120} has base_path {entry.base_path!r:.120}; expected that of a model "
                f"directly below {before}. Mirror the base path that it was written for."
            )
        entry.base_path = f"{after.rstrip('/')}/{inside}"
    return text_format.MessageToString(config).encode()


def all_listed(content: bytes | None, file: str) -> set[tuple[str, int]]:
    """Every version that the content of `file` lists, with the model whose directory it lies in."""
    return {
        (_directory(entry), number)
        for entry in _read(content or b"", file).model_config_list.config
        for number in _versions(entry)
    }


def _directory(entry: ModelConfig) -> str:
    """The name of the directory that a model's versions lie in."""
    return entry.base_path.rstrip("/").rpartition("/")[2]


def all_held(content: bytes | None, file: str, name: str, published: Collection[int]) -> frozenset[int]:
    """The versions, of those `published` in the directory of `name`, that a server with that file loads.

    Whatever policy an entry has, and as which model it lists them.
    """
    held: set[int] = set()
    for entry in _read(content or b"", file).model_config_list.config:
        if _directory(entry) != name:
            continue
        policy = entry.model_version_policy
        match policy.WhichOneof("policy_choice"):
            case "specific":
                held |= _versions(entry)
            case "all":
                held.update(published)
            case _:
                held.update(sorted(published)[-max(1, policy.latest.num_versions) :])
    return frozenset(held)


def live_version(present: bytes | None, name: str) -> int | None:
    """The version of `name` that `models.config` with this content has live; None if it names none, or several."""
    versions = listed(present, MODELS_CONFIG, name).versions
    return next(iter(versions)) if len(versions) == 1 else None


def stable_version(present: bytes | None, name: str) -> int | None:
    """The version of `name` that `labels.config` with this content has live; None if it names none."""
    return listed(present, LABELS_CONFIG, name).labels.get(STABLE)


def _listing(
    versions: AbstractSet[int], labels: Mapping[str, int], candidates: AbstractSet[int], base_path: str
) -> Listed:
    paths = frozenset({base_path} if versions or candidates else ())
    return Listed(frozenset(versions), labels, frozenset(candidates), paths)


def _versions(entry: ModelConfig | None) -> frozenset[int]:
    return frozenset() if entry is None else frozenset(map(int, entry.model_version_policy.specific.versions))


def _updated(present: bytes | None, file: str, name: str, wanted: Listed) -> bytes | None:
    """The content of `file` with what it is to say of `name`; as it is where it says that already."""
    check_model_name(name)
    if listed(present, file, name) == wanted:
        return present
    config = _parsed(present or b"", file)
    for entry in _made(name, wanted):
        _put(config, name, entry)
    return text_format.MessageToString(config).encode()


def _made(name: str, wanted: Listed) -> tuple[ModelConfig, ModelConfig]:
    """The model's entry, and that of its candidates; without versions: it is not to be there."""
    own, candidates = ModelConfig(name=name), ModelConfig(name=canary_name(name))
    for entry, versions in ((own, wanted.versions), (candidates, wanted.candidates)):
        (entry.base_path,) = wanted.base_paths or {""}
        entry.model_platform = "tensorflow"
        entry.model_version_policy.specific.versions.extend(sorted(check_version(each) for each in versions))
    own.version_labels.update(wanted.labels)
    return own, candidates


def _put(config: ModelServerConfig, name: str, entry: ModelConfig) -> None:
    """Put an entry of the model `name` in the place of the present one; one without versions takes that away."""
    entries = config.model_config_list.config
    place = next((number for number, existing in enumerate(entries) if existing.name == entry.name), None)
    if not entry.model_version_policy.specific.versions:
        if place is not None and _belongs(entries[place], name):
            del entries[place]
        return
    if place is None:
        entries.append(entry)
        return
    if not _belongs(entries[place], name):
        raise InputError(
            f"model {entry.name!r} is listed for {entries[place].base_path}; expected that name for candidates of "
            f"{entry.base_path}. Rename that model."
        )
    if entries[place].HasField("logging_config"):
        entry.logging_config.CopyFrom(entries[place].logging_config)
    entries[place].CopyFrom(entry)


def _entries(config: ModelServerConfig, file: str, name: str) -> dict[str, ModelConfig]:
    """The entries of a model and of its candidates, by name; InputError if there are several of one name."""
    found: dict[str, ModelConfig] = {}
    for entry in config.model_config_list.config:
        if entry.name not in {name, canary_name(name)}:
            continue
        if entry.name in found:
            raise InputError(f"{file}: lists model {entry.name!r} 2 times; expected once. Remove all but one.")
        found[entry.name] = entry
    return {listed_as: entry for listed_as, entry in found.items() if _belongs(entry, name)}


def _belongs(entry: ModelConfig, name: str) -> bool:
    """Whether an entry is of the model `name`, or of its candidates rather than of a model that has such a name."""
    return entry.name == name or entry.base_path.rstrip("/").rpartition("/")[2] == name


@lru_cache(maxsize=4)
def _read(content: bytes, file: str) -> ModelServerConfig:
    """As `_parsed`, not to be changed: a pass reads the same two files for every model."""
    return _parsed(content, file)


def _parsed(content: bytes, file: str) -> ModelServerConfig:
    config = ModelServerConfig()
    try:
        text_format.Parse(content.decode(), config)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(f"{file}: line {line} is not UTF-8; {_EXPECTED}") from error
    except text_format.ParseError as error:
        line, reason = error.GetLine() or 1, str(error).partition(" : ")[2] or str(error)
        raise InputError(f"{file}: line {line}: {reason.rstrip('.')}; {_EXPECTED}") from error
    if config.HasField("custom_model_config"):
        raise InputError(f"{file}: line 1: holds a custom_model_config; {_EXPECTED}")
    return config
