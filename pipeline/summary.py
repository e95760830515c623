"""Results as text: what a command prints."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.config import Config
    from pipeline.lifecycle import Outcome
    from pipeline.optimize.table import Comparison
    from registry.evaluation import Evaluation


def as_json(document: Any) -> str:
    """One JSON document."""
    return json.dumps(document, indent=2, ensure_ascii=False)


def program() -> str:
    """How to call this command line again from here, as it was called."""
    called = Path(sys.argv[0])
    return os.path.relpath(called) if called.name == "slipway" else "python -m pipeline"


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Aligned columns, a line a row, below a line of headings; "-" stands for nothing."""
    cells = [[str(column) for column in columns]]
    cells += [["-" if row.get(column) in (None, "") else str(row[column]) for column in columns] for row in rows]
    widths = [max(len(line[place]) for line in cells) for place in range(len(columns))]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in cells)


def evaluation(result: "Evaluation") -> str:
    """The numbers of an evaluation, a line each, then a line a class."""
    numbers = ("accuracy", "top3_accuracy", "macro_f1", "log_loss", "calibration_error")
    lines = [f"run {result.run_id}, {result.images} held-out images"]
    lines += [f"  {name:<18} {getattr(result, name):.4f}" for name in numbers]
    rows = [
        {"class": label, "precision": f"{of.precision:.3f}", "recall": f"{of.recall:.3f}", "images": of.support}
        for label, of in ((label, result.per_class[label]) for label in result.labels)
    ]
    return "\n".join([*lines, table(rows, ("class", "precision", "recall", "images"))])


def variants(result: "Comparison") -> str:
    """A line a variant, then why those that were refused were."""
    from pipeline.optimize.table import COLUMNS

    return "\n".join([table(result.rows(), COLUMNS), *result.reasons()])


def outcome(result: "Outcome", config: "Config") -> str:
    """How `main` ended: run, version, accuracy, what was served, and the command to run next."""
    version, seen = result.version, result.verification
    lines = [
        result.gate.table(),
        "",
        f"run        {result.trained.run_id}  ({result.trained.parameters:,} parameters)",
        f"version    {version.name} version {version.version}",
        f"accuracy   {result.evaluation.accuracy:.4f} on {result.evaluation.images} held-out images",
    ]
    if seen is None:
        return "\n".join(
            [*lines, "refused    nothing was changed about what is live", f"next       {result.gate.next_command}"]
        )
    answer, truth = seen.prediction, result.evaluation.labels[seen.truth]
    said = f"{answer.label} with probability {answer.probability:.4f}, by version {answer.version}; it is {truth}"
    lines += [
        f"golden     {seen.golden.summary()}",
        f"served     {seen.picture}: {said}",
        f"next       {_serve(config)}",
        f"then       {program()} predict --name {config.name} --address http://127.0.0.1:8501 {seen.picture}",
    ]
    return "\n".join(lines)


def _serve(config: "Config") -> str:
    from pipeline.config import Config as Default

    if (config.name, config.base) == (Default.name, Default.base):
        return "make serve"
    endpoint = f" --s3-endpoint {config.s3_endpoint}" if config.s3_endpoint else ""
    return f"{program()} serve --ui --name {config.name} --base {config.base}{endpoint}"
