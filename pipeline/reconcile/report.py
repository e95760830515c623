"""What a pass did, what it left, and what it refused, for people and for programs."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.reconcile.serving import Verified


@dataclass
class ModelReport:
    """One model's part of a pass; filled in while it goes on."""

    name: str
    done: list[str] = field(default_factory=list)  # what was done, or would be
    notes: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)  # differences that the pass could not close
    refused: dict[int, str] = field(default_factory=dict)  # version -> why
    failed: str = ""  # what ended the pass over this model
    parts_s: dict[str, float] = field(default_factory=dict)  # publish, load, golden, live, registry
    verified: dict[int, Verified] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """One text for each thing to say, with the model's name; none where nothing happened and nothing is left."""
        said = [
            *self.done,
            *(f"REFUSED version {version}: {reason}" for version, reason in self.refused.items()),
            *(f"note: {note}" for note in self.notes),
            *(f"left: {left}" for left in self.left),
            *([f"failed: {self.failed}"] if self.failed else []),
        ]
        return [f"{self.name}: {text}" for text in said]


@dataclass(frozen=True)
class Report:
    """A pass over one or more models."""

    models: tuple[ModelReport, ...]
    dry_run: bool = False

    @property
    def exit_code(self) -> int:
        """0: nothing is left; 1: something failed or is left; 3: a version was refused."""
        if any(each.refused for each in self.models):
            return 3
        return 1 if any(each.failed or each.left for each in self.models) else 0

    @property
    def quiet(self) -> bool:
        """Whether there is nothing to say but that all is as it should be."""
        return not any(each.lines() for each in self.models)

    def text(self) -> str:
        """A line for each thing that was done, or would be, and for each that is left."""
        lines = [line for each in self.models for line in each.lines()]
        if lines:
            return "\n".join([*(["a plan; nothing is changed"] if self.dry_run else []), *lines])
        if not self.models:
            return "no model is served: none has the tag slipway.serving, and none is named by --models"
        count = f"{len(self.models)} model{'s' * (len(self.models) > 1)}"
        return f"nothing to do: {count} {'are' if len(self.models) > 1 else 'is'} as the registry says"

    def as_dict(self) -> Mapping[str, Any]:
        """The report as plain JSON values."""
        return {
            "dry_run": self.dry_run,
            "exit_code": self.exit_code,
            "models": [_as_dict(each) for each in self.models],
        }

    def of(self, name: str) -> ModelReport:
        """The part of one model."""
        return next((each for each in self.models if each.name == name), ModelReport(name))


def _as_dict(report: ModelReport) -> dict[str, Any]:
    shown = {item.name: getattr(report, item.name) for item in dataclasses.fields(report) if item.name != "verified"}
    return shown | {"refused": {str(version): reason for version, reason in report.refused.items()}}
