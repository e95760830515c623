"""The model config files in a base path: which versions a server loads, and which of them is live.

`models.config` is for the real TensorFlow Serving: it answers unlabelled requests from the highest version that it
loaded, so it is told the champion alone. `labels.config` is for a server with `--default_label=stable`: the previous
champion stays loaded beside the champion, so that a rollback only moves the label.

Both are made from the content that is there, whose other models are kept; pass them to `Store.update_file`.
"""

from google.protobuf import text_format

from serving.wire.model_server_config_pb2 import ModelConfig, ModelServerConfig
from slipway.errors import InputError
from slipway.names import check_model_name, check_version

MODELS_CONFIG = "models.config"
LABELS_CONFIG = "labels.config"
STABLE = "stable"
_EXPECTED = (
    "expected a TensorFlow Serving model_config_list in protobuf's text format. Correct the file, or move it away to "
    "have it written anew."
)


def models_config(present: bytes | None, name: str, base_path: str, champion: int) -> bytes:
    """`models.config` with `champion` as the only version of the model `name` at `base_path`, and no labels.

    InputError if `present` is no model config list.
    """
    return _updated(present, MODELS_CONFIG, _entry(name, base_path, [champion]))


def labels_config(present: bytes | None, name: str, base_path: str, champion: int, previous: int | None) -> bytes:
    """`labels.config` with `champion` as the model's `stable` version, and `previous`, if any, loaded beside it.

    InputError if `present` is no model config list.
    """
    versions = [champion] if previous is None or previous == champion else [champion, previous]
    entry = _entry(name, base_path, versions)
    entry.version_labels[STABLE] = champion
    return _updated(present, LABELS_CONFIG, entry)


def live_version(present: bytes | None, name: str) -> int | None:
    """The version of `name` that `models.config` with this content has live; None if it names none, or several."""
    for entry in _parsed(present or b"", MODELS_CONFIG).model_config_list.config:
        if entry.name == name and len(entry.model_version_policy.specific.versions) == 1:
            return int(entry.model_version_policy.specific.versions[0])
    return None


def stable_version(present: bytes | None, name: str) -> int | None:
    """The version of `name` that `labels.config` with this content has live; None if it names none."""
    for entry in _parsed(present or b"", LABELS_CONFIG).model_config_list.config:
        if entry.name == name and STABLE in entry.version_labels:
            return int(entry.version_labels[STABLE])
    return None


def _entry(name: str, base_path: str, versions: list[int]) -> ModelConfig:
    entry = ModelConfig(name=check_model_name(name), base_path=base_path, model_platform="tensorflow")
    entry.model_version_policy.specific.versions.extend(check_version(version) for version in versions)
    return entry


def _updated(present: bytes | None, file: str, entry: ModelConfig) -> bytes:
    """The content of `file` with `entry` in the place of the one of its name, or at the end."""
    config = _parsed(present or b"", file)
    entries = config.model_config_list.config
    same = [existing for existing in entries if existing.name == entry.name]
    if len(same) > 1:
        raise InputError(f"{file}: lists model {entry.name!r} {len(same)} times; expected once. Remove all but one.")
    if same:
        if same[0].HasField("logging_config"):
            entry.logging_config.CopyFrom(same[0].logging_config)
        same[0].CopyFrom(entry)
    else:
        entries.append(entry)
    return text_format.MessageToString(config).encode()


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
