"""The command that lets a candidate earn its traffic: rollout."""

from typing import TYPE_CHECKING, Any

import click

from pipeline.commands import JSON, MODEL, REASON, Command, config_of_model, leave, with_policy_of_run
from pipeline.config import Config, load_rollout_policy
from pipeline.options import config_options, option, overrides
from slipway.errors import InputError

if TYPE_CHECKING:
    from pipeline.rollout.policy import RolloutPolicy


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
    request = Request(_policy(policy, config, values, resolved), bool(watch), labels or "", reason or "")
    outcome = conduct(
        resolved,
        request,
        lambda version: lifecycle.gate(with_policy_of_run(resolved, version, config, values), version),
    )
    click.echo(summary.as_json(outcome.as_dict()) if json else outcome.text())
    leave(refused=outcome.aborted)


def _policy(policy: str | None, config: str | None, values: dict[str, Any], resolved: Config) -> "RolloutPolicy | None":
    """The policy that was named in any way; None where none was, so that a rollout under way goes on with its own."""
    given = {key: value for key, value in overrides(values).items() if key.startswith("rollout.")}
    if policy:
        return load_rollout_policy(policy, given)
    return resolved.rollout if config or given else None
