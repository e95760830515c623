"""After a command has moved an alias: make that live here, or wait until the watcher has."""

import time
from collections.abc import Collection
from dataclasses import replace

from pipeline.page_facts import refresh_page
from pipeline.reconcile.reconcile import reconcile_once
from pipeline.reconcile.report import ModelReport, Report
from pipeline.reconcile.world import World, read_listing
from registry.deployment import DEPLOY, DEPLOY_REASON
from registry.intent import load_seen
from registry.lease import renewed_lease
from registry.ledger import CHAMPION
from serving.model_config import STABLE
from slipway.errors import ConflictError, UnavailableError

KEY = "reconcile"
_TRY_S = 1.0
_MARGIN_S = 60.0


def pass_alone(
    world: World, names: Collection[str] | None = None, *, wait_s: float = 0.0, dry_run: bool = False
) -> Report:
    """One pass under the lease "reconcile"; ConflictError if somebody else holds it for longer than `wait_s`."""
    with renewed_lease(world.ledger, KEY, world.config.reconcile.lease_s, wait_s) as held:

        def check() -> None:
            world.check()
            held.check()

        made = reconcile_once(replace(world, check=check), names, dry_run=dry_run)
        if not dry_run:
            refresh_page(world, made, of_all=names is None)
        return made


def settle(world: World, name: str, version: int, alias: str) -> Report:
    """Make `version`, which bears the alias already, live or the canary; returns the pass that did, or refused it.

    Does the pass itself, or waits until whoever holds the lease, such as a watcher, has done it. The report says what
    failed, as a pass does.

    Raises:
        ConflictError: the alias has moved on to another version meanwhile.
        UnavailableError: nobody has done it within the time that a load may take.
    """
    settings = world.config.reconcile
    deadline = time.monotonic() + settings.load_timeout_s + settings.interval_s + settings.lease_s + _MARGIN_S
    while True:
        try:
            report = pass_alone(world, (name,), wait_s=_TRY_S)
        except ConflictError as busy:
            done = _settled(world, name, version, alias)
            if done is not None:
                return done
            if time.monotonic() > deadline:
                raise UnavailableError(
                    f"{name} version {version} bears the alias {alias}, and nobody has made it live: {busy}"
                ) from busy
        else:
            found = report.of(name)
            if found.failed or version in found.refused:
                return report
            return _settled(world, name, version, alias, found) or report


def _settled(world: World, name: str, version: int, alias: str, found: ModelReport | None = None) -> Report | None:
    """What became of it, or None if nobody has finished it yet; `found`, what the own pass has to say, is kept."""
    seen = load_seen(world.ledger, name)
    model = world.registry.model(name)
    last = None if seen is None else seen.champion if alias == CHAMPION else seen.challenger
    moved_on = model.aliases.get(alias) != version
    report = found or ModelReport(name)
    tags = world.registry.version(name, version).tags
    if tags.get(DEPLOY) == "refused" and (moved_on or (seen is not None and seen.refused == version == last)):
        report.refused[version] = tags.get(DEPLOY_REASON, "its tags do not say why")
        return Report((report,))
    if moved_on:
        raise ConflictError(
            f"{name}: alias {alias} went to version {model.aliases.get(alias)} while version {version} was to go live: "
            "somebody moved it. Look at `slipway status`, and decide anew."
        )
    live = read_listing(world, name)[0].labels.get(STABLE)
    done = last == version and (alias != CHAMPION or live == version)
    return Report((report,)) if done else None
