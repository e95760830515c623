"""What an output is of: fixed by the run that begins it, and held to by those that go on."""

import json
from dataclasses import asdict, dataclass
from typing import Any

from slipway.errors import InputError

_FORMAT = 1
_WORDS = {
    "input_digest": "images",
    "model": "model",
    "version": "version",
    "servable_digest": "servable",
    "variant": "variant",
    "part_images": "images a part",
}


@dataclass(frozen=True)
class Plan:
    """Which images are scored by what, in which parts."""

    input_digest: str
    images: int
    part_images: int
    model: str
    version: int
    servable_digest: str
    variant: str

    @property
    def parts(self) -> int:
        """How many parts there are when all is done."""
        return -(-self.images // self.part_images)

    def data(self) -> bytes:
        """The plan's file."""
        return json.dumps({"format": _FORMAT, **asdict(self)}, indent=1).encode() + b"\n"


def parse_plan(data: bytes, place: str) -> Plan:
    """The plan in a file's bytes; InputError if it is none."""
    try:
        document: dict[str, Any] = json.loads(data)
        found = document.pop("format")
        plan = Plan(**document) if found == _FORMAT else None
        fault = "" if plan is None or plan.images > 0 < plan.part_images else "it has no parts"
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _unreadable(place, str(error)) from error
    if fault:
        raise _unreadable(place, fault)
    if plan is None:
        raise InputError(
            f"--output {place}: its plan is of format {found}; expected {_FORMAT}. Pass another --output, or go on "
            "with the version of Slipway that began it."
        )
    return plan


def _unreadable(place: str, fault: str) -> InputError:
    return InputError(
        f"--output {place}: its plan cannot be read ({fault}); expected one that this version of slipway score wrote. "
        "Pass another --output."
    )


def check_same(found: Plan, place: str, **wanted: str | int | None) -> None:
    """InputError unless an output was begun with what is wanted now; None: nothing in particular."""
    for name, value in wanted.items():
        was = getattr(found, name)
        if value is not None and value != was:
            change = "is of other images" if name == "input_digest" else f"was begun with {_WORDS[name]} {was}"
            now = "the ones that it was begun with" if name == "input_digest" else f"{value}, as asked for now"
            begun = "what it was begun with"
            if name == "version":  # nobody need have asked for another one: an alias may have been moved
                now, begun = f"{value}, which is the one now", f"--version {was} to go on with it"
            raise InputError(f"--output {place}: {change}; expected {now}. Pass another --output, or {begun}.")
