"""One check: the champion's last records against its reference, as an MLflow run and as tags of the version."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pipeline.config import Config
from pipeline.drift.judging import judge, level
from pipeline.drift.pictures import pictures
from pipeline.drift.records import last_records
from pipeline.drift.reference import reference_of
from pipeline.drift.report import DriftReport
from pipeline.drift.sample import Sample, of_records, of_reference
from pipeline.tracking import StepRun, log_record, step
from registry.client import ModelVersion, Registry
from registry.ledger import CHAMPION

if TYPE_CHECKING:
    from serving.servable.reference import Reference


def check(config: Config, now: datetime | None = None) -> DriftReport:
    """Judge the champion's traffic, log the judgement as a run, and tag the version with it.

    Where there are too few records, there is no run, and the tag says unknown. now: records after it do not count.

    NotFoundError without a champion, or a log; InputError where it has no reference statistics, or no log is named.
    """
    now = datetime.now(UTC) if now is None else now
    registry = Registry()
    version = registry.require_alias(config.name, CHAMPION)
    reference = reference_of(registry, version)
    records = last_records(config, version.version, now)
    report = _judged(config, version, now, len(records))
    if report.enough:
        windows = list(_windows(records, config.drift.window, reference))
        report = _logged(config, report, of_reference(reference), windows)
    registry.set_tags(config.name, version.version, report.tags())
    return report


def _judged(config: Config, version: ModelVersion, now: datetime, records: int) -> DriftReport:
    rules = config.drift
    return DriftReport(
        model=version.name,
        version=version.version,
        time=now.astimezone(UTC),
        records=records,
        needed=rules.found_windows * rules.window,  # with fewer, no measure could be found
        window=rules.window,
        windows=records // rules.window,
        found_windows=rules.found_windows,
        level=level(rules),
    )


def _windows(records: Any, size: int, reference: "Reference") -> Iterator[Sample]:
    """The oldest first; what is left over is older than any of them."""
    for start in range(len(records) % size, len(records), size):
        yield of_records(records.slice(start, size), reference.probabilities.shape[1])


def _logged(config: Config, report: DriftReport, reference: Sample, windows: list[Sample]) -> DriftReport:
    with step("drift", config.experiment) as run:
        report = replace(report, findings=judge(reference, windows, config.drift), run_id=run.run_id)
        run.params({"version": report.version, "window": report.window, "windows": report.windows})
        run.tags({"slipway.drift": report.status, "slipway.model": f"{report.model}/{report.version}"})
        run.metrics(_metrics(report))
        log_record(run, "drift.json", report.as_dict())
        _draw(run, reference, windows)
    return report


def _metrics(report: DriftReport) -> dict[str, float]:
    """A measure's difference and p, and in how many windows it was found; none of those that were not measured."""
    found = {"drift_found": float(report.found), "records": float(report.records)}
    for each in report.findings:
        if each.statistic is not None and each.p is not None:
            found |= {f"{each.measure}_difference": each.statistic, f"{each.measure}_p": each.p}
            found[f"{each.measure}_found_in"] = float(each.found_in)
    return found


def _draw(run: StepRun, reference: Sample, windows: list[Sample]) -> None:
    for name, figure in pictures(reference, windows):
        run.figure(name, figure)
