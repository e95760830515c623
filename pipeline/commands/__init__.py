"""What all commands share: switches, common options, and how they come to a configuration and a version."""

import dataclasses
import sys
from typing import TYPE_CHECKING, Any

import click

from pipeline.config import Config, load_config, with_overrides
from pipeline.options import is_switch, option, overrides
from pipeline.s3_endpoint import reaching_s3
from slipway.errors import InputError

if TYPE_CHECKING:
    from registry.client import ModelVersion

REFUSED = 3
VERSION = option("--version", "Model version's number.", int)
ALIAS = option("--alias", "Alias of the model version, such as champion.")
JSON = option("--json", "Print one JSON document.", bool)
REASON = option("--reason", "Why, for the ledger.")
MODEL = click.argument("model", required=False, metavar="[NAME]")


class Command(click.Command):
    """Takes `--json` and `--json true` alike, and never a file that follows as the switch's value."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        switches = {flag for parameter in self.params if is_switch(parameter) for flag in parameter.opts}
        given: list[str] = []
        for place, argument in enumerate(args):
            given.append(argument)
            following = args[place + 1 : place + 2]
            if argument in switches and following and following[0].lower() not in ("", "true", "false"):
                given.append("true")
        return super().parse_args(ctx, given)


def config_from(file: str | None, values: dict[str, Any]) -> Config:
    config = reaching_s3(load_config(file, overrides(values)))
    if "trusted_keys" in values and config.gate.require_signature:
        from pipeline.signing.trust import trusted_keys

        trusted_keys(config)  # or hours of training would end in saying that they cannot be read
    return config


def config_of_model(model: str | None, file: str | None, values: dict[str, Any]) -> Config:
    """The configuration for the model that an argument names; without one, `--name` and what stands below it do."""
    if model and values.get("name") not in (None, model):
        raise InputError(f"{model} and --name {values['name']}: expected one model. Leave one of them out.")
    return config_from(file, {**values, "name": model} if model else values)


def config_of_run(run_id: str, file: str | None, values: dict[str, Any]) -> Config:
    """A step after training takes the run's own configuration, unless a file is named; options stand above both."""
    from pipeline.run_inputs import resumed_config
    from pipeline.tracking import open_run

    if file:
        return config_from(file, values)
    began = resumed_config(open_run(run_id), config_from(None, values))
    return reaching_s3(with_overrides(began, overrides(values)))


def config_of_champion(model: str | None, file: str | None, values: dict[str, Any]) -> Config:
    """What a retraining begins from: the configuration that the champion was trained under, unless a file is named."""
    from pipeline.retrain.records import champion_of
    from pipeline.run_inputs import CONFIG_ARTIFACT
    from pipeline.tracking import open_run
    from registry.client import Registry

    config = config_of_model(model, file, values)
    champion = None if file else champion_of(Registry(), config.name)
    if champion is None or not champion.run_id or CONFIG_ARTIFACT not in open_run(champion.run_id).artifacts(""):
        return config
    named = {**values, "name": config.name}
    return config_of_run(champion.run_id, None, named)


def with_policy_of_run(config: Config, version: "ModelVersion", file: str | None, values: dict[str, Any]) -> Config:
    """The gate judges a version by the policy that its run was started with, unless a file is named."""
    from pipeline.run_inputs import CONFIG_ARTIFACT, resumed_config
    from pipeline.tracking import open_run

    if file or not version.run_id or CONFIG_ARTIFACT not in (run := open_run(version.run_id)).artifacts(""):
        return config
    gate = with_overrides(resumed_config(run, config), overrides(values)).gate
    return dataclasses.replace(config, gate=gate)


def chosen_version(config: Config, version: int | None, alias: str | None) -> "ModelVersion":
    from registry.client import Registry

    if version is not None and alias is None:
        return Registry().version(config.name, version)
    if alias is not None and version is None:
        return Registry().require_alias(config.name, alias)
    raise InputError("expected one of --version and --alias. Pass --version N, or --alias champion.")


def required(value: str | None, flag: str, what: str, placeholder: str = "ID") -> str:
    if not value:
        raise InputError(f"{flag} is missing; expected {what}. Pass {flag} {placeholder}.")
    return value


def leave(*, refused: bool) -> None:
    if refused:
        sys.exit(REFUSED)
