"""Command-line options made from the configuration's dataclasses: one default, and help, for each key."""

import dataclasses
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click

from pipeline.config import Config

HELP = {
    "name": "Registered model's name.",
    "experiment": "MLflow experiment that new runs go to.",
    "base": "Model base path that versions are published to.",
    "s3_endpoint": "S3 server's address, for base paths and data in S3 elsewhere than at Amazon.",
    "prediction_log": "Folder that the embedded server logs its answers to, and that is read again.",
    "workdir": "Folder for what can be made again, such as the digits as files.",
    "data.source": "Images: digits, a folder with a subfolder per class, or a CSV file path,label[,split]; or s3://...",
    "data.skip_bad_images": "Go on without images that cannot be read.",
    "data.validation_fraction": "Share of the images that training is watched on.",
    "data.test_fraction": "Share of the images held out for evaluation.",
    "data.split_seed": "Seed of the split; the same images and seed give the same split.",
    "data.max_pixels": "Largest height times width that an image may have.",
    "data.excluded": "Images, like --data, that are left out of every split wherever their bytes occur.",
    "train.network": "Backbone: resnet50, or tiny or plain (for tests).",
    "train.head": "Between backbone and Dense(1024): flatten or avg.",
    "train.weights": "Start from: none, imagenet, or a .h5 or .keras file.",
    "train.image_size": "Side of the network's input, in pixels.",
    "train.freeze_backbone": "Train the head alone, on features that are computed once (with --shift, in each epoch).",
    "train.keep_head": "Take the head, too, from a .keras file of the same classes.",
    "train.batch_norm_momentum": "Momentum of batch normalisation; 0.9 suits short trainings.",
    "train.epochs": "Passes over the training images.",
    "train.batch_size": "Images a step.",
    "train.learning_rate": "Adam's learning rate, the highest one of a schedule.",
    "train.schedule": "Learning rate: constant, or cosine with a short warm-up.",
    "train.precision": "Computation while training: float32 or bfloat16.",
    "train.shift": "Move training images by up to this share of their side.",
    "train.seed": "Seed of weights and order of images.",
    "optimize.variants": "Faster forms to build and measure, such as openvino-int8,onnx-fp32; none by default.",
    "optimize.maximum_accuracy_drop": "How far below the trained network's a variant's accuracy may be.",
    "optimize.minimum_agreement": "Least share of equal first classes, with fewer than 2,000 held-out images.",
    "optimize.calibration_images": "Training images that int8 variants take their ranges from.",
    "optimize.rounds": "Rounds in which each variant's speed is measured.",
    "optimize.round_seconds": "Seconds of one such measurement.",
    "gate.minimum_accuracy": "Least accuracy on held-out images.",
    "gate.champion_margin": "How far below the champion's accuracy a candidate may be.",
    "gate.significance": "Level of the paired test against the champion.",
    "gate.recall_drop": "How far the recall of a class may fall against the champion.",
    "gate.recall_minimum_support": "Fewest images of a class for its recall to be compared by itself.",
    "gate.maximum_parity": "Largest difference of a probability between servable and trained network.",
    "gate.maximum_size_mb": "Largest size of a servable, in MB.",
    "gate.require_signature": "Let only versions be champion, published or gone back to that a trusted key has signed.",
    "signing.key": "File of the private key that signs a version when it is registered.",
    "signing.command": "Instead: a program that signs its standard input, such as a KMS client.",
    "signing.public_key": "File of the public key of that program.",
    "signing.trusted_keys": "Directory of the public keys whose signatures count, and revoked.txt.",
    "reconcile.models": "Models to serve beside those tagged slipway.serving, with commas between.",
    "reconcile.servers": "gRPC addresses of the servers that follow the base path, with commas between, or none.",
    "reconcile.interval_s": "Seconds between two looks at the registry.",
    "reconcile.load_timeout_s": "Seconds that a server may take to load a version before it is refused.",
    "reconcile.on_refusal": "Alias of a refused version: restore what is live, or leave it.",
    "reconcile.allow_retire": "Serve a model no more once its alias champion is deleted.",
    "reconcile.lease_s": "Seconds after a reconciler's death in which another one takes over.",
    "reconcile.mlflow_ui": "Address at which people find MLflow's UI, where the tracking server's own is another.",
    "rollout.steps": "Percent of the traffic that the candidate answers, step by step.",
    "rollout.least_requests": "Requests that the candidate has to answer in each step.",
    "rollout.measures": "What is compared: errors, latency, accuracy (can abort), confidence, disagreement (can hold).",
    "rollout.total_error": "Chance of a wrong abort, or of a wrong promotion, over all measures and looks.",
    "rollout.error_margin": "Evidence of more failed requests than this, as a share, aborts.",
    "rollout.error_tolerance": "Share of all requests that may fail beyond the stable version's; to be shown.",
    "rollout.latency_margin": "Evidence of a 95th percentile that is higher than this, as a share, aborts.",
    "rollout.latency_tolerance": "How much higher, as a share, the 95th percentile may be; to be shown.",
    "rollout.accuracy_margin": "Evidence of a lower accuracy than this, where true labels came back, aborts.",
    "rollout.accuracy_tolerance": "How much lower the accuracy may be; to be shown.",
    "rollout.confidence_margin": "A mean confidence that differs by more than this holds.",
    "rollout.disagreement_limit": "Copies of which more than this share are answered differently hold.",
    "rollout.shadow": "Percent of requests copied to the candidate in a step before the first; 0 for none.",
    "rollout.key_header": "Header by whose value a client stays with one version.",
    "rollout.rest_servers": "REST addresses of the embedded servers, separated by commas.",
    "rollout.look_interval_s": "Seconds between two looks of --watch.",
    "rollout.longest_s": "Seconds after which a rollout without a decision is undecided.",
    "rollout.undecided": "What then: hold, or abort.",
    "retrain.regression_set": "Images, like --data, that never enter training and on which no champion may be worse.",
    "retrain.start": "Weights to begin with: champion, or scratch.",
    "retrain.max_age_days": "A champion older than this is a reason to train; 0: age is none.",
    "retrain.cool_down_hours": "Hours after a refusal without another attempt, unless forced.",
    "retrain.max_minutes": "Training ends with the last epoch that is over by then; 0: no limit.",
    "drift.window": "Records in a window.",
    "drift.windows": "How many windows, the last ones, are looked at.",
    "drift.found_windows": "In how many of them a measure has to be found.",
    "drift.alpha": "Chance of a finding in a check without drift, over all measures and windows.",
    "drift.least_samples": "Embeddings, images or labels in a window for it to be judged by them.",
    "drift.max_age_s": "Older records, in seconds, are not looked at.",
    "drift.class_mix_effect": "Least change of the class mix that counts, as Cramer's V.",
    "drift.confidence_effect": "Least change of confidence that counts, as Kolmogorov-Smirnov distance.",
    "drift.embedding_effect": "Least area under the curve of a classifier between both, beyond 0.5.",
    "drift.image_effect": "Least change of brightness, sharpness or size, as Kolmogorov-Smirnov distance.",
    "drift.accuracy_effect": "Least loss of accuracy that counts, where labels came back.",
    "drift.check_interval_s": "Seconds between two checks of --watch.",
    "kubernetes.server_engine": "What serves in a cluster: embedded, or tensorflow_serving.",
    "kubernetes.server_image": "Image of the model server; none is the engine's own.",
    "kubernetes.sync_image": "Image of the sidecar that mirrors the base path.",
    "kubernetes.namespace": "Namespace of what serves.",
    "kubernetes.replicas": "Pods of a version, at least.",
    "kubernetes.max_replicas": "Pods of the live version, at most.",
    "kubernetes.s3_secret": "Secret: AWS variables of the base path's readers.",  # pragma: allowlist secret # help # nosec B105
    "kubernetes.tokens_secret": "Secret: a file `tokens`; none: open.",  # pragma: allowlist secret # help # nosec B105
    "kubernetes.trusted_keys_map": "ConfigMap of public keys; with it, what none of them has signed is not served.",
}
_FLAG = {
    "data.source": "data",
    "reconcile.interval_s": "interval",
    "retrain.start": "from",
    **{f"signing.{key}": f"signing-{key}" for key in ("key", "command", "public_key")},
}


class Unset(click.ParamType[Any]):
    """A value, or an empty text for "as the configuration says": MLproject passes every parameter."""

    def __init__(self, kind: type) -> None:
        self.kind = kind
        self.name = {int: "integer", float: "number", bool: "true|false"}.get(kind, "text")
        known: dict[type, click.ParamType[Any]] = {int: click.INT, float: click.FLOAT, bool: click.BOOL}
        self._inner = known.get(kind, click.STRING)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return None if value in ("", None) else self._inner.convert(value, param, ctx)


@dataclass(frozen=True)
class ConfigKey:
    """One configuration key as an option."""

    key: str  # dotted, as in a file
    kind: type
    default: Any

    @property
    def flag(self) -> str:
        return "--" + _FLAG.get(self.key, self.key.rpartition(".")[2]).replace("_", "-")

    @property
    def parameter(self) -> str:
        return self.flag[2:].replace("-", "_")


def config_keys() -> dict[str, ConfigKey]:
    """Every configuration key, by its dotted name."""
    return {item.key: item for item in _keys_of(Config, "")}


def option(  # help: click's word
    flag: str,
    help: str,  # noqa: A002
    kind: type = str,
    name: str = "",
    **more: Any,
) -> Callable[[Any], Any]:
    """A click option that takes an empty text as not given. name: of its parameter, where it is not the flag's."""
    if kind is bool:  # `--flag` alone, or `--flag true` as MLproject writes it
        more |= {"is_flag": False, "flag_value": "true"}
    return click.option(flag, *([name] if name else []), type=Unset(kind), help=help, **more)


def is_switch(parameter: click.Parameter) -> bool:
    """Whether an option is true or false, so that its flag may stand alone."""
    return isinstance(parameter.type, Unset) and parameter.type.kind is bool


def config_options(*sections: str, without: tuple[str, ...] = ()) -> Callable[[Any], Any]:
    """Options for the keys of `sections` ("data", "train"), or single keys ("name"), and `--config`.

    without: keys that are set by a file alone, since the command uses the flag for something else.
    """
    if {"base", "data"} & set(sections):
        sections += ("s3_endpoint",)
    if {"base", "gate"} & set(sections):  # whatever publishes or judges a version asks whether it is signed
        sections += ("gate.require_signature", "signing.trusted_keys")
    keys = [item for item in config_keys().values() if item.key not in without]
    chosen = [item for item in keys if any(_in_section(item.key, name) for name in sections)]

    def decorate(command: Any) -> Any:
        for item in reversed(chosen):
            shown = str(item.default).lower() if item.kind is bool else item.default
            text = f"{HELP[item.key]}  [default: {shown}]"
            command = option(item.flag, text, item.kind, metavar=None if item.kind is not bool else "[true|false]")(
                command
            )
        return option("--config", "Configuration file (YAML); options stand above it.")(command)

    return decorate


def overrides(values: dict[str, Any]) -> dict[str, Any]:
    """From a command's parameters, those that are configuration keys and were given, by dotted key."""
    by_parameter = {item.parameter: item.key for item in config_keys().values()}
    return {by_parameter[name]: value for name, value in values.items() if name in by_parameter and value is not None}


def _in_section(key: str, section: str) -> bool:
    return key == section or key.startswith(f"{section}.")


def _keys_of(kind: type, prefix: str) -> list[ConfigKey]:
    types = typing.get_type_hints(kind)
    found = []
    for item in dataclasses.fields(kind):
        key = f"{prefix}{item.name}"
        if dataclasses.is_dataclass(types[item.name]):
            found += _keys_of(types[item.name], f"{key}.")
        else:
            found.append(ConfigKey(key, types[item.name], item.default))
    return found
