"""The command that lets a candidate earn its traffic: rollout."""

import dataclasses
from typing import TYPE_CHECKING, Any

import click

from pipeline.commands import JSON, MODEL, REASON, Command, config_of_model, leave, with_policy_of_run
from pipeline.config import load_config, load_rollout_policy
from pipeline.options import config_options, option, overrides
from pipeline.rollout.policy import RolloutPolicy
from slipway.errors import InputError

if TYPE_CHECKING:
    from pipeline.rollout.looking import ChoosePolicy


@click.command(cls=Command)
@MODEL
@option("--once", "Look once, as from a timer; the default.", bool)
@option("--watch", "Look again and again until it is over.", bool)
@option("--policy", "File with keys of the section `rollout` alone; without one, what the rollout began with.")
@option("--labels", "CSV file request_id,label of true labels, sent to the servers before the look.")
@option("--abort", "End the rollout now; needs --reason.", bool)
@REASON
@config_options("name", "experiment", "base", "workdir", "gate", "reconcile", "rollout")
@JSON
def rollout(  # noqa: PLR0913, PLR0917 - one parameter an option
    model: str | None,
    once: bool | None,
    watch: bool | None,
    policy: str | None,
    labels: str | None,
    abort: bool | None,
    reason: str | None,
    config: str | None,
    json: bool | None,
    **values: Any,
) -> None:
    """Give the challenger more and more traffic, judged beside the champion; exit code 3 when it is aborted."""
    from pipeline import lifecycle, summary
    from pipeline.rollout.conducting import Request, conduct

    if once and watch:
        raise InputError("--once and --watch are both given; expected one. Leave out one of them.")
    if bool(abort) != bool(reason):
        raise InputError("expected --abort and --reason together, or neither. Pass --abort --reason TEXT.")
    resolved = config_of_model(model, config, values)
    request = Request(_policy(policy, config, values), bool(watch), labels or "", reason or "")
    outcome = conduct(
        resolved,
        request,
        lambda version: lifecycle.gate(with_policy_of_run(resolved, version, config, values), version),
    )
    click.echo(summary.as_json(outcome.as_dict()) if json else outcome.text())
    leave(refused=outcome.aborted)


def _policy(file: str | None, config: str | None, values: dict[str, Any]) -> "ChoosePolicy":
    """Of a policy file, else of the configuration if it has any, else as the rollout began; options above it."""
    given = {key: value for key, value in overrides(values).items() if key.startswith("rollout.")}
    named = load_rollout_policy(file, given) if file else load_config(config, given).rollout
    if file or load_config(config).rollout != RolloutPolicy():
        return lambda _begun: named
    changes = {key.partition(".")[2]: value for key, value in given.items()}
    return lambda begun: named if begun is None else dataclasses.replace(begun, **changes)
