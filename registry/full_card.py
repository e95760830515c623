"""The whole model card, for which a version's description has no room: the artifact `model_card.md` of its run."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from registry.card import CALLS, LONGEST, NO_GATE, CardFacts, cell, gate_section, plain, quality, shown
from registry.client import ModelVersion, Registry
from registry.deployment import LONGEST_DESCRIPTION, is_line
from registry.evaluation import Evaluation
from slipway.errors import NotFoundError

ARTIFACT = "model_card.md"
_GATE = re.compile(r"^## Gate\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
_CONFUSIONS = 10

_LIMITS = """
## Limits

- It always answers with one of its {classes} classes, also for a picture of something else.
- Its numbers hold for pictures such as it was evaluated on. Other cameras, places and times may change them.
- Not measured: robustness to blur, noise, darkness, rotation and pictures made to deceive; whether it serves groups of
  people equally well. A person should look at what it says before a decision on somebody hangs on it.
- Licence: Slipway does not record that of the images, or of weights that training began with. Ask who supplied them
  before this model leaves the house.
"""


def full_card(facts: CardFacts, evaluation: Evaluation | None) -> str:
    """The card as Markdown, every class and variant in it; the gate's part is for later (`with_gate`)."""
    height, width = facts.image_size
    data = f"| `{facts.dataset_digest[:12]}` | `{facts.git_commit[:12]}` | `{facts.run_id}` |\n"
    classes = "known" if evaluation is None else str(len(evaluation.labels))
    return "".join(
        (
            f"# {facts.name}\n\n{plain(facts.network)}, for pictures of {height} x {width} pixels; files are scaled.\n",
            _intended(evaluation),
            f"\n## Data\n\n{plain(facts.data)}.\n\n| dataset digest | code | run |\n|---|---|---|\n{data}",
            "\n## Quality\n\nNot evaluated.\n" if evaluation is None else _measured(evaluation),
            _variants(facts),
            NO_GATE,
            _pictures(facts),
            _LIMITS.format(classes=classes),
            CALLS.format(name=facts.name, height=height, width=width),
        )
    )


def with_gate(card: str, report: Mapping[str, Any], longest: int | None = None) -> str:
    """The card with what `GateReport.as_dict` made in the place of its part on the gate, if it has one.

    longest: characters; where the table does not fit, a sentence stands for it, or the card stays as it is.
    """
    for brief in (False, True):
        section = gate_section(report, brief=brief)
        changed = _GATE.sub(lambda _found, new=section: f"{new}\n", card, count=1)  # type: ignore[misc]
        if longest is None or len(changed) <= longest:
            return changed
    return card


def save_card(registry: Registry, facts: CardFacts, evaluation: Evaluation | None) -> None:
    """Log the card to the run, before there is a version of it: then none is without."""
    registry.log_artifact_bytes(facts.run_id, ARTIFACT, full_card(facts, evaluation).encode())


def record_gate(registry: Registry, version: ModelVersion, report: Mapping[str, Any]) -> None:
    """Write a gate's report into both cards of a version: its description and, where it has one, its run's artifact.

    A description that somebody has written anew has no such part, and stays.
    """
    present = registry.version(version.name, version.version).description
    longest = LONGEST_DESCRIPTION if is_line(present) else LONGEST
    description = with_gate(present, report, longest)
    if description != present:
        registry.set_description(version.name, version.version, description)
    text = _logged(registry, version)
    if text is not None:
        registry.log_artifact_bytes(version.run_id, ARTIFACT, with_gate(text, report).encode())


def card_text(registry: Registry, name: str, number: int) -> str:
    """The whole card of a version, or its description where no such card was logged."""
    version = registry.version(name, number)
    text = _logged(registry, version)
    return version.description if text is None else text


def _logged(registry: Registry, version: ModelVersion) -> str | None:
    """The card of the version's run; None if it has none, or one of another model that was made from the run, too."""
    if not version.run_id:
        return None
    try:
        text = registry.read_artifact(version.run_id, ARTIFACT).decode(errors="replace")
    except NotFoundError:
        return None
    return text if text.startswith(f"# {version.name}\n") else None


def _intended(evaluation: Evaluation | None) -> str:
    text = "\n## What it is for\n\nTo say which of its classes a picture shows"
    if evaluation is None:
        return f"{text}.\n"
    named = ", ".join(cell(label) for label in evaluation.labels[:20])
    more = f" and {len(evaluation.labels) - 20} more" if len(evaluation.labels) > 20 else ""
    return f"{text}: {named}{more}. It was made for pictures such as those that it was trained on.\n"


def _measured(evaluation: Evaluation) -> str:
    rows = sorted(evaluation.per_class.items(), key=lambda item: item[0])
    classes = "".join(
        f"| {cell(label)} | {shown(of.recall)} | {shown(of.precision)} | {of.support} |\n" for label, of in rows
    )
    return (
        f"\n## Quality\n\n{quality(evaluation)}\n## Classes\n\n| class | recall | precision | images |\n"
        f"|---|---|---|---|\n{classes}{_confusions(evaluation)}\n## Calibration\n\nThe mean distance between its "
        f"confidence and its accuracy, over 15 equal bins of confidence, is {shown(evaluation.calibration_error)}. So "
        "far, on average, is a probability that it gives from the share of its answers that are right; 0 is perfect.\n"
    )


def _confusions(evaluation: Evaluation) -> str:
    """The pairs of classes that are taken for one another most often."""
    wrong = evaluation.truth != evaluation.predicted
    pairs = np.stack([evaluation.truth[wrong], evaluation.predicted[wrong]], axis=1)
    if not len(pairs):
        return "\nIt made no mistake on these images.\n"
    found, counts = np.unique(pairs, axis=0, return_counts=True)
    worst = np.argsort(-counts, kind="stable")[:_CONFUSIONS]
    labels = evaluation.labels
    lines = "".join(f"| {cell(labels[t])} | {cell(labels[p])} | {counts[i]} |\n" for i in worst for t, p in [found[i]])
    return f"\n| is | was taken for | times |\n|---|---|---|\n{lines}"


def _variants(facts: CardFacts) -> str:
    if not facts.variants:
        return "\n## Variants\n\nOne form only, as it was trained: no other was measured.\n"
    rows = "".join(
        f"| {cell(of.name)} | {of.accuracy:.4f} | {of.images_per_s:.1f} | {of.p50_ms:.2f} | {of.size_mb:.1f} |\n"
        for of in facts.variants
    )
    head = "| variant | accuracy | images per second | p50, ms | MB |\n|---|---|---|---|---|\n"
    return f"\n## Variants\n\nMeasured where they were built:\n\n{head}{rows}"


def _pictures(facts: CardFacts) -> str:
    if not facts.pictures:
        return ""
    lines = "".join(f"- `runs:/{facts.run_id}/{path}`\n" for path in facts.pictures)
    return (
        "\n## Examples and explanations\n\nPictures among the artifacts of its run: open the run in MLflow, Artifacts, "
        f"or fetch one with `mlflow artifacts download -u`:\n\n{lines}"
    )
