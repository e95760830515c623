"""A version's description: what it learned from, how good it is, how to call it. For people, in the MLflow UI."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from registry.deployment import LONGEST_DESCRIPTION, LONGEST_LINE
from registry.evaluation import Evaluation

LONGEST = LONGEST_DESCRIPTION - LONGEST_LINE - 2  # characters: the line that says what became of the version fits above

_LONGEST_CELL = 80  # characters
# Entities for what begins HTML: the converter of MLflow's UI knows no backslash before these.
_MEANT = str.maketrans({"<": "&lt;", "&": "&amp;"} | {mark: f"\\{mark}" for mark in "\\`*_[|~"})
_MOST = 8  # variants or pictures that a description names
_GATE_ROOM = 900  # characters that the classes leave to the table of the gate, which runs later
NO_GATE = "\n## Gate\n\nIt has not run yet.\n"

CALLS = """
## How to call it

An image file (JPEG, PNG, BMP or GIF), with curl:

```sh
printf '{{"signature_name": "serving_bytes", "instances": [{{"image_bytes": {{"b64": "%s"}}}}]}}' \\
  "$(base64 < photo.jpg | tr -d '\\n')" |
  curl -d @- http://localhost:8501/v1/models/{name}:predict
```

Pixels (RGB, 0 to 255), with Python:

```python
import requests

pixels = ...  # {height} x {width} x 3, nested lists of numbers
answer = requests.post(
    "http://localhost:8501/v1/models/{name}:predict", json={{"instances": [{{"input": pixels}}]}}, timeout=60
).json()
print(answer["predictions"][0]["label"], answer["predictions"][0]["output"])
```

Without a model server of its own: `mlflow models serve -m models:/{name}@champion --env-manager local`.
"""


@dataclass(frozen=True)
class VariantFacts:
    """What one form of the network did on the held-out images, and on the machine that it was built on."""

    name: str
    accuracy: float  # top-1, 0 to 1
    images_per_s: float
    p50_ms: float  # of one image alone
    size_mb: float


@dataclass(frozen=True)
class CardFacts:
    """What the card says beside the evaluation."""

    name: str
    run_id: str
    network: str  # in a few words: "ResNet50, 25.7 million parameters"
    data: str  # in a few words: "digits: 1,797 images, 10 classes"
    image_size: tuple[int, int]  # height, width
    dataset_digest: str
    git_commit: str
    variants: tuple[VariantFacts, ...] = ()  # those that were measured
    pictures: tuple[str, ...] = ()  # artifacts of the run that show what it does, and why


def model_card(facts: CardFacts, evaluation: Evaluation | None) -> str:
    """The card as Markdown, at most LONGEST characters; classes that do not fit are counted, the worst are shown."""
    height, width = facts.image_size
    head = f"""\
# {facts.name}

{plain(facts.network)}, for pictures of {height} x {width} pixels (files of any size are scaled).

## Data

{plain(facts.data)}. Dataset digest `{facts.dataset_digest[:12]}`, code `{facts.git_commit[:12]}`, run `{facts.run_id}`.

## Quality

"""
    measured = "Not evaluated.\n" if evaluation is None else quality(evaluation)
    known = f"{_variants(facts)}{_pictures(facts)}\nThe whole card is the artifact `model_card.md` of the run.\n"
    more = f"{known}{_limits(evaluation)}{NO_GATE}"
    calls = CALLS.format(name=facts.name, height=height, width=width)
    budget = LONGEST - len(head) - len(measured) - len(more) - len(calls) - _GATE_ROOM
    classes = "" if evaluation is None else _classes(evaluation, budget)
    return f"{head}{measured}{classes}{more}{calls}"[:LONGEST]


def gate_section(report: Mapping[str, Any], *, brief: bool = False) -> str:
    """The card's part on the gate, from what `GateReport.as_dict` made; `brief` leaves out what holds."""
    against = "no champion" if report["against"] is None else f"champion version {report['against']}"
    verdict = "Passed" if report["passed"] else "Refused"
    rules = [rule for rule in report["rules"] if not (brief and rule["passed"])]
    table = "".join(
        f"| {cell(rule['rule'])} | {_number(rule['measured'])} | {rule['relation']} {rule['limit']:g} | "
        f"{'pass' if rule['passed'] else 'REFUSE'} |\n"
        for rule in rules
    )
    head = "| rule | measured | wanted | verdict |\n|---|---|---|---|\n" if rules else ""
    return f"## Gate\n\n{verdict}, against {against}.\n{chr(10) if rules else ''}{head}{table}"


def quality(evaluation: Evaluation) -> str:
    """The numbers of an evaluation as a table, below a line that says what they are of."""
    numbers = (
        evaluation.accuracy,
        evaluation.top3_accuracy,
        evaluation.macro_f1,
        evaluation.log_loss,
        evaluation.calibration_error,
    )
    return f"""\
On {evaluation.images} images that it was not trained on (`{evaluation.split}`, `{evaluation.split_digest[:12]}`):

| accuracy | top-3 | macro F1 | log loss | calibration error |
|---|---|---|---|---|
| {" | ".join(map(shown, numbers))} |
"""


def _classes(evaluation: Evaluation, budget: int) -> str:
    worst_first = sorted(evaluation.per_class.items(), key=lambda item: (_or_zero(item[1].recall), item[0]))
    text = "\n| class | recall | precision | images |\n|---|---|---|---|\n"
    for place, (label, of) in enumerate(worst_first):
        line = f"| {cell(label)} | {shown(of.recall)} | {shown(of.precision)} | {of.support} |\n"
        rest = f"\nand {len(worst_first) - place} classes with better recall.\n"
        if len(text) + len(line) + len(rest) > budget:
            return text + rest
        text += line
    return text


def shown(number: float) -> str:
    """A number in a card."""
    return f"{number:.4f}" if math.isfinite(number) else "undefined"


def _variants(facts: CardFacts) -> str:
    if not facts.variants:
        return ""
    said = (
        f"{plain(of.name)} {of.accuracy:.4f}, {of.images_per_s:.1f} images per second" for of in facts.variants[:_MOST]
    )
    return f"\nVariants, by accuracy and speed where they were built: {'; '.join(said)}{_more(facts.variants)}.\n"


def _limits(evaluation: Evaluation | None) -> str:
    classes = "known" if evaluation is None else str(len(evaluation.labels))
    return f"""
## Limits

- It answers with one of its {classes} classes, also for a picture of something else.
- Not measured: blur, noise, darkness, rotation, pictures made to deceive, fairness to groups of people.
- The licence of images and of weights is not recorded.
"""


def _pictures(facts: CardFacts) -> str:
    if not facts.pictures:
        return ""
    named = ", ".join(f"`{path[-_LONGEST_CELL:]}`" for path in facts.pictures[:_MOST])
    return f"\nExamples and explanations, under Artifacts of the run: {named}{_more(facts.pictures)}.\n"


def _more(listed: Sequence[object]) -> str:
    return f", and {len(listed) - _MOST} more" if len(listed) > _MOST else ""


def _or_zero(number: float) -> float:
    return number if math.isfinite(number) else 0.0


def _number(measured: float | None) -> str:
    return "missing" if measured is None else f"{measured:.4g}"


def plain(text: str) -> str:
    """Markdown, on one line, that shows the text and nothing else, also in a table."""
    return " ".join(text.split()).translate(_MEANT)


def cell(text: str) -> str:
    """A text in a table of Markdown: as much of it as there is room for."""
    return plain(text[:_LONGEST_CELL])
