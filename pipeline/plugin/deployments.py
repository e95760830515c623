"""What `mlflow deployments` does: each call changes what is wanted, and has reconcile's steps make it live."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from pipeline.plugin.asking import await_answers
from pipeline.plugin.errors import AlreadyExistsError
from pipeline.plugin.model_uri import resolve
from pipeline.plugin.records import Record, keep_record, read_records
from pipeline.plugin.settings import Settings
from pipeline.plugin.standalone import ORIGIN, Standalone, check_own_name, take_away
from pipeline.promotion import Why, to_champion
from pipeline.publication import publish
from pipeline.reconcile.report import Report
from pipeline.reconcile.serving import RefusedError, ServerReport
from pipeline.reconcile.settle import settle
from pipeline.reconcile.world import World, open_world, read_listing
from registry.client import ModelVersion
from registry.deployment import note
from registry.entities import SERVING
from registry.gate import GateReport, report_from_dict
from registry.ledger import CHAMPION
from registry.promote import record_retired
from serving.model_config import STABLE
from slipway.errors import InputError, IntegrityError, NotFoundError, UnavailableError
from slipway.names import check_model_name

FLAVOR = "slipway"
_CANARY = "-canary"


class Deployments:
    """The deployments below one base path. Every method raises a SlipwayError for what cannot be done."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def create(self, name: str, uri: str) -> dict[str, Any]:
        """Serve what `uri` names as `name`, and return its description; AlreadyExistsError if it is there."""
        check_model_name(name)
        if name.endswith(_CANARY):
            raise InputError(f"deployment {name!r}: names that end with {_CANARY} are for candidates. Choose another.")
        with self._world() as world:
            present = read_records(world.store).get(name)
            if present is not None:
                raise AlreadyExistsError(
                    f"deployment {name!r} exists, of {present.model_uri}; expected a new name. Update it with "
                    f"`mlflow deployments update --name {name}`, or delete it first."
                )
            return self._go_live(world, name, uri)

    def update(self, name: str, uri: str | None) -> dict[str, Any]:
        """Serve what `uri` names as `name` from now on."""
        with self._world() as world:
            self._record(world, name)
            if not uri:
                raise InputError(
                    f"deployment {name!r}: expected what to serve as it from now on. Pass --model-uri URI."
                )
            return self._go_live(world, name, uri)

    def delete(self, name: str) -> None:
        """Take `name` from the servers; published bytes stay."""
        with self._world() as world:
            record = self._record(world, name)
            reason = self._settings.reason or "its deployment was deleted"
            if record.model == name:
                _retire_model(world, name, reason)
            else:
                Standalone(world, name).retire(reason)
            keep_record(world.store, name, None)

    def all(self) -> list[dict[str, Any]]:
        """Every deployment, by name."""
        with self._world() as world:
            return [_described(world, name, record) for name, record in sorted(read_records(world.store).items())]

    def get(self, name: str) -> dict[str, Any]:
        """One deployment, and what each server says of it."""
        with self._world() as world:
            described = _described(world, name, self._record(world, name))
            servers = {each.address: _server(each) for each in world.serving.report(name)}
            return described | {"base": world.model_path(name), "servers": servers}

    @contextmanager
    def _world(self) -> Iterator[World]:
        with open_world(self._settings.config) as world:
            yield world

    def _record(self, world: World, name: str) -> Record:
        records = read_records(world.store)
        if name not in records:
            there = ", ".join(sorted(records)) or "none"
            raise NotFoundError(
                f"deployment {name!r} does not exist below {world.config.base}; there is {there}. Create it with "
                f"`mlflow deployments create -t slipway --name {name} -m models:/NAME@champion`, or name another base: "
                "-C base=PATH, SLIPWAY_DEPLOYMENTS_BASE."
            )
        return records[name]

    def _go_live(self, world: World, name: str, uri: str) -> dict[str, Any]:
        version = resolve(world.registry, uri)
        if name == version.name:
            self._as_champion(world, version)
        else:
            check_own_name(world, name, version)
            Standalone(world, name).go_live(version, self._settings.reason or f"deployed from {uri}")
        if self._settings.rest is not None:
            timeout_s = world.config.reconcile.load_timeout_s
            await_answers(self._settings.rest, name, version.version, timeout_s)
        record = Record(uri, version.name)
        keep_record(world.store, name, record)
        return _described(world, name, record)

    def _as_champion(self, world: World, version: ModelVersion) -> None:
        name, number = version.name, version.version
        if CHAMPION in version.aliases:
            if world.registry.model(name).tags.get(SERVING) != "true":
                world.registry.tag_model(name, {SERVING: "true"})
            report = settle(world, name, number, CHAMPION)
            _check(report, name, number)
            if number not in report.of(name).verified:  # it was live before, by another base path's or another's pass
                publish(world.config, world.registry, version)
                world.serving.verify(version)
            return
        why = Why(self._settings.reason, self._settings.force, ORIGIN)
        promotion = to_champion(world.config, version, _gate_report(world, version), why)
        if promotion.settled is None:
            raise RefusedError(
                f"{name} version {number}: the gate refused it. Override that with -C force=true -C reason=TEXT."
            )
        _check(promotion.settled, name, number)


def _gate_report(world: World, version: ModelVersion) -> GateReport:
    """The gate's last report on the version, which must be against what is champion now."""
    name, number = version.name, version.version
    again = f"Run: slipway gate --name {name} --version {number}"
    try:
        text = world.registry.read_artifact(version.run_id, f"gate/{name}-{number}.json")
    except NotFoundError as error:
        raise InputError(f"{name} version {number}: the gate has not judged it. {again}") from error
    try:
        report = report_from_dict(json.loads(text))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise IntegrityError(
            f"{name} version {number}: its gate report is none ({type(error).__name__}: {error}). {again}"
        ) from error
    champion = world.registry.aliases(name).get(CHAMPION)
    if report.against != champion:
        raise InputError(
            f"{name} version {number}: the gate compared it with champion {report.against}; now that is {champion}. "
            f"{again}"
        )
    return report


def _check(report: Report, name: str, version: int) -> None:
    found = report.of(name)
    if version in found.refused:
        raise RefusedError(f"{name} version {version} is refused, and what was live stays: {found.refused[version]}")
    if found.failed or found.left:
        raise UnavailableError(f"{name} version {version}: {found.failed or '; '.join(found.left)}")


def _retire_model(world: World, name: str, reason: str) -> None:
    """The alias first: it is what the registry wants, and the next pass of reconcile follows it."""
    champion = world.registry.aliases(name).get(CHAMPION)
    world.registry.tag_model(name, {SERVING: "false"})
    if champion is not None:
        record_retired(world.registry, world.ledger, name, champion, reason, ORIGIN)
        note(world.registry, name, champion, "retired", reason, world.clock())
    take_away(world, name)


def _described(world: World, name: str, record: Record) -> dict[str, Any]:
    labels, models = read_listing(world, name)
    live = labels.labels.get(STABLE) or next(iter(models.versions), None)
    return {"name": name, "flavor": FLAVOR, "model_uri": record.model_uri, "model": record.model, "version": live}


def _server(report: ServerReport) -> dict[str, Any]:
    if report.left_out:
        return {"error": report.left_out}
    versions = {str(number): asdict(state) for number, state in sorted(report.versions.items())}
    return {"live": report.live, "versions": versions}
