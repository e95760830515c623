"""Typed configuration: flag over environment over file over the dataclass's default. YAML is read and written here."""

import contextlib
import dataclasses
import difflib
import json
import re
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pipeline.data import DataConfig
from pipeline.drift.config import DriftConfig
from pipeline.optimize.config import OptimizeConfig
from pipeline.reconcile.config import ReconcileConfig
from pipeline.retrain.config import RetrainConfig
from pipeline.rollout.policy import RolloutPolicy
from pipeline.signing.config import SigningConfig
from pipeline.train import TrainConfig
from registry.policy import Policy
from serving.kubernetes.spec import ClusterSettings
from slipway.credentials import has_credentials
from slipway.errors import InputError
from slipway.names import check_model_name

Section = TypeVar("Section")

_ENDPOINT = re.compile(r"https?://[^/@?#\s]+/?")


@dataclass(frozen=True)
class Config:
    """Everything a lifecycle needs to know; each section belongs to the step of its name."""

    name: str = "resnet50"  # the registered model
    experiment: str = "slipway"
    base: str = "serving_base"  # the model base path that versions are published to
    s3_endpoint: str = ""  # an S3 server's address, where it is not Amazon's
    prediction_log: str = ""  # folder that model servers log their answers to; none
    workdir: str = ".slipway"  # what can be made again: the digits as files, downloads
    data: DataConfig = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    optimize: OptimizeConfig = field(default_factory=OptimizeConfig)
    gate: Policy = field(default_factory=Policy)
    signing: SigningConfig = field(default_factory=SigningConfig)
    reconcile: ReconcileConfig = field(default_factory=ReconcileConfig)
    rollout: RolloutPolicy = field(default_factory=RolloutPolicy)
    retrain: RetrainConfig = field(default_factory=RetrainConfig)
    drift: DriftConfig = field(default_factory=DriftConfig)
    kubernetes: ClusterSettings = field(default_factory=ClusterSettings)

    def __post_init__(self) -> None:
        check_model_name(self.name)
        if self.s3_endpoint and not _ENDPOINT.fullmatch(self.s3_endpoint):
            raise InputError(
                "s3_endpoint: expected http://HOST:PORT or https://HOST, with no user or password in it. Edit it or "
                "pass --s3-endpoint; credentials are the usual AWS variables and profiles."
            )
        # All of it is logged with every run.
        for key, value in flat(self).items():
            if isinstance(value, str) and has_credentials(value):
                raise InputError(
                    f"{key}: an address with a user or password in it; expected none, since it is logged with every "
                    "run. Take them out, and give them by the environment."
                )

    @property
    def base_is_remote(self) -> bool:
        """Whether the base path is no directory of this machine."""
        return "://" in self.base and not self.base.startswith("file://")


def load_config(file: str | None = None, overrides: Mapping[str, Any] | None = None) -> Config:
    """The configuration of `file`, with `overrides` by dotted key (`train.epochs`) put above it."""
    tree = _read_yaml(Path(file)) if file else {}
    return _build(Config, _overridden(tree, overrides or {}), file or "the command line", "")


def load_rollout_policy(file: str, overrides: Mapping[str, Any] | None = None) -> RolloutPolicy:
    """The policy in a file of the section `rollout`'s keys alone, with `overrides` (`rollout.steps`) above it."""
    tree = _overridden({"rollout": _read_yaml(Path(file))}, overrides or {})
    return _build(RolloutPolicy, tree["rollout"], file, "")


def with_overrides(config: Config, overrides: Mapping[str, Any]) -> Config:
    """`config` with `overrides` by dotted key put above it."""
    return _build(Config, _overridden(dataclasses.asdict(config), overrides), "the command line", "")


def config_to_json(config: Config) -> str:
    """The whole resolved configuration, as it is logged with a run."""
    return json.dumps(dataclasses.asdict(config), indent=2, sort_keys=True)


def config_from_json(text: str, source: str) -> Config:
    """What `config_to_json` wrote; `source` names its place in errors."""
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{source}: is not JSON ({error}); expected what a training logged. Train anew.") from error
    if not isinstance(tree, dict):
        raise InputError(f"{source}: is a {type(tree).__name__}; expected what a training logged. Train anew.")
    return _build(Config, tree, source, "")


def flat(config: object, prefix: str = "") -> dict[str, Any]:
    """The configuration as dotted keys, in the order of its fields."""
    items: dict[str, Any] = {}
    for item in dataclasses.fields(config):  # type: ignore[arg-type]
        value = getattr(config, item.name)
        key = f"{prefix}{item.name}"
        items.update(flat(value, f"{key}.") if dataclasses.is_dataclass(value) else {key: value})
    return items


def as_yaml(document: Mapping[str, Any]) -> str:
    """A document as YAML, keys in their order, texts of several lines as blocks."""
    import yaml

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, _data: Any) -> bool:
            return True

    def block(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)

    Dumper.add_representer(str, block)
    return yaml.dump(dict(document), Dumper=Dumper, sort_keys=False, width=120)


def _overridden(tree: dict[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    for key, value in overrides.items():
        *sections, last = key.split(".")
        place = tree
        for section in sections:
            if place.get(section) is None:
                place[section] = {}
            place = place[section]
            if not isinstance(place, dict):
                break  # the file is wrong there, and reading it says so
        else:
            place[last] = value
    return tree


def _read_yaml(path: Path) -> dict[str, Any]:
    import yaml

    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"configuration {path}: {error.strerror}; expected a readable YAML file. Pass --config."
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        place = f"{path}:{line + 1}" if line is not None else str(path)
        problem = getattr(error, "problem", None) or "not UTF-8 text"
        raise InputError(f"{place}: {problem}; expected YAML. Mend that line.") from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise InputError(
            f"{path}: a {type(tree).__name__}; expected keys and values, as in pipeline/conf/quickstart.yaml."
        )
    return tree


def _build(kind: type[Section], tree: Mapping[str, Any], source: str, prefix: str) -> Section:
    types = typing.get_type_hints(kind)
    known = {item.name: types[item.name] for item in dataclasses.fields(kind)}  # type: ignore[arg-type]
    values = {}
    for key, value in tree.items():
        if key not in known:
            raise InputError(f"{source}: unknown key '{prefix}{key}'{_suggest(str(key), known)}")
        values[key] = _convert(known[key], value, source, f"{prefix}{key}")
    try:
        return kind(**values)
    except InputError as error:
        raise InputError(f"{source}: {error}") from None


def _suggest(key: str, known: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else f"; expected one of {', '.join(known)}. Remove or rename it."


def _convert(kind: Any, value: Any, source: str, key: str) -> Any:
    if dataclasses.is_dataclass(kind):
        value = {} if value is None else value
        if not isinstance(value, Mapping):
            raise InputError(f"{source}: {key} is {value!r}; expected keys and values below it. Indent them.")
        return _build(typing.cast("type[Any]", kind), value, source, f"{key}.")
    if kind is float and isinstance(value, str):
        with contextlib.suppress(ValueError):  # YAML reads 1e-3 as text
            value = float(value)
    accepted = {float: (int, float), int: (int,), bool: (bool,), str: (str,)}.get(kind, (object,))
    if not isinstance(value, accepted) or (kind is not bool and isinstance(value, bool)):
        raise InputError(f"{source}: {key} is {value!r}; expected a value of type {kind.__name__}. Edit it.")
    return kind(value)
