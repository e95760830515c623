"""Which registered version a model URI names."""

import re

from registry.client import ModelVersion, Registry
from slipway.errors import InputError, NotFoundError

_EXPECTED = "expected models:/NAME@ALIAS, models:/NAME/VERSION or models:/NAME/STAGE"
_REGISTERED = re.compile(r"models:/+([^/@]+)(?:@([^/@]+)|/([^/@]+))")
_RUN = re.compile(r"runs:/+([^/]+)(?:/.*)?")


def resolve(registry: Registry, uri: str) -> ModelVersion:
    """The version that `uri` names now.

    Raises InputError for what names no registered version, and says which one to name instead where there is one;
    NotFoundError for a model, version or alias that does not exist.
    """
    if run := _RUN.fullmatch(uri):
        raise _of_a_run(registry, uri, run[1])
    found = _REGISTERED.fullmatch(uri)
    if found is None:
        raise InputError(
            f"model URI {uri!r}: {_EXPECTED}, a version that is registered, since only such a version has a sealed "
            "servable. Register it first: slipway register --run-id ID"
        )
    name, alias, which = found.groups()
    if alias is not None:
        return registry.require_alias(name, alias)
    if which.isdecimal():
        return registry.version(name, which)
    stages = registry.model(name).stages
    number = next((number for stage, number in stages.items() if stage.lower() == which.lower()), None)
    if number is not None:
        return registry.version(name, number)
    if which.lower() in {"production", "staging"}:
        raise NotFoundError(f"model URI {uri!r}: {name} has no version in that stage. Name a version or an alias.")
    raise InputError(f"model URI {uri!r}: {which!r} is no version, and no stage that can be served; {_EXPECTED}.")


def _of_a_run(registry: Registry, uri: str, run_id: str) -> InputError:
    registry.run_tags(run_id)  # NotFoundError for a run that does not exist
    made = ", ".join(f"models:/{name}/{version}" for name, version in registry.versions_of_run(run_id))
    remedy = f"Its version is {made}: pass that." if made else f"Register it first: slipway register --run-id {run_id}"
    return InputError(f"model URI {uri!r}: a run's model is not what is served; {_EXPECTED}. {remedy}")
