"""What a drift check came to: a line, a table, and a document."""

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from pipeline.drift.judging import Finding

FOUND, NONE, UNKNOWN = "found", "none", "unknown"
TAG, TIME_TAG, MEASURES_TAG, RUN_TAG = (
    "slipway.drift",
    "slipway.drift_time",
    "slipway.drift_measures",
    "slipway.drift_run",
)
_COLUMNS = ("measure", "difference", "limit", "p", "windows", "verdict", "note")


@dataclass(frozen=True)
class DriftReport:
    """One check of one version.

    records: those that were looked at; needed: how many there have to be. windows: how many were judged, of `window`
    records each; a measure is found in `found_windows` of them, each at `level`. run_id: of the MLflow run, or "".
    """

    model: str
    version: int
    time: datetime
    records: int
    needed: int
    window: int
    windows: int
    found_windows: int
    level: float
    findings: tuple[Finding, ...] = ()
    run_id: str = ""

    @property
    def enough(self) -> bool:
        """Whether there were records to judge."""
        return self.records >= self.needed

    @property
    def found(self) -> bool:
        """Whether any measure is found."""
        return any(finding.found for finding in self.findings)

    @property
    def status(self) -> str:
        """The tag's value: found, none, or unknown."""
        if not self.enough:
            return UNKNOWN
        return FOUND if self.found else NONE

    def summary(self) -> str:
        """One line."""
        head = f"{self.model} version {self.version}"
        if not self.enough:
            missing = self.needed - self.records
            return f"{head}: drift unknown: {self.records} records of {self.needed}, {missing} are missing"
        looked = f"{self.windows} windows of {self.window} records"
        unmeasured = ", ".join(each.measure for each in self.findings if not each.of)
        tail = f"; not measured: {unmeasured}" if unmeasured else ""
        if not self.found:
            return f"{head}: no drift in {looked}{tail}"
        words = [f"{each.measure} ({each.found_in} of {each.of} windows)" for each in self.findings if each.found]
        return f"{head}: drift found in {looked}: {', '.join(words)}{tail}"

    def text(self) -> str:
        """The summary, and below it a line a measure."""
        from pipeline.summary import table

        if not self.findings:
            return self.summary()
        tail = [f"run {self.run_id}"] if self.run_id else []
        return "\n".join([self.summary(), table([_row(each) for each in self.findings], _COLUMNS), *tail])

    def tags(self) -> dict[str, str]:
        """What the version is tagged with; measures that were not measured are left out."""
        measures = {each.measure: each.as_tag() for each in self.findings if each.of}
        return {
            TAG: self.status,
            TIME_TAG: self.time.isoformat(timespec="seconds"),
            MEASURES_TAG: json.dumps(measures, sort_keys=True),
            RUN_TAG: self.run_id,
        }

    def as_dict(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "version": self.version,
            "time": self.time.isoformat(timespec="seconds"),
            "status": self.status,
            "found": self.found,
            "enough": self.enough,
            "records": self.records,
            "missing": max(0, self.needed - self.records),
            "window": self.window,
            "windows": self.windows,
            "found_windows": self.found_windows,
            "level": self.level,
            "measures": {each.measure: asdict(each) for each in self.findings},
            "run_id": self.run_id,
        }


def _row(finding: Finding) -> dict[str, str]:
    measured = finding.statistic is not None and finding.p is not None
    return {
        "measure": finding.measure,
        "difference": f"{finding.statistic:.3f}" if measured else "",
        "limit": f"{finding.limit:g}",
        "p": f"{finding.p:.2g}" if measured else "",
        "windows": f"{finding.found_in} of {finding.of}",
        "verdict": "FOUND" if finding.found else "no" if finding.of else "not measured",
        "note": finding.note.removeprefix("not measured: "),
    }
