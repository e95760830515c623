"""May this version be champion? A pure function of two evaluations and a policy; its answer is a value."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeGuard

import numpy as np

from registry.evaluation import Evaluation
from registry.policy import Policy

_NO_CHAMPION = "no champion yet: passes"
_ACCURACY_CHANGE = "accuracy change"
_PAIRED_TEST = "paired test, p"
_RECALL_FALL = "class recall fall"
_SMALL_RECALL_FALL = "small classes' recall fall"
_ROUNDING = 1e-9  # relative; so that 0.85 - 0.70 is not more than 0.15


@dataclass(frozen=True)
class SignatureCheck:
    """What became of a version's signature: the trusted key that made it, or else why it does not count."""

    key_id: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Candidate:
    """A version as the gate sees it. None stands for what nobody measured, and refuses."""

    name: str
    version: int
    evaluation: Evaluation | None
    parity: float | None  # largest |difference| of the servable's outputs to the trained network's
    size_bytes: int | None
    signature: SignatureCheck | None = None  # asked for where the policy requires one


@dataclass(frozen=True)
class RuleResult:
    """One line of the report. `limit` is the least, or the most, that `measured` may be."""

    rule: str
    measured: float | None
    relation: Literal["at least", "at most"]
    limit: float
    passed: bool
    note: str = ""


@dataclass(frozen=True)
class GateReport:
    """Every rule with what was measured and what was wanted. It passes when all of them do."""

    name: str
    version: int
    against: int | None  # the champion's version; None when there was none
    rules: tuple[RuleResult, ...]

    @property
    def passed(self) -> bool:
        return bool(self.rules) and all(rule.passed for rule in self.rules)

    @property
    def next_command(self) -> str:
        """What to run after this: the promotion, or what would override the refusal."""
        promote = f"python -m pipeline promote --name {self.name} --version {self.version} --to champion"
        return promote if self.passed else f"{promote} --force --reason TEXT"

    def table(self) -> str:
        """The report as aligned columns, for a terminal."""
        rows = [("rule", "measured", "wanted", "verdict", "note")]
        for rule in self.rules:
            verdict = "pass" if rule.passed else "REFUSE"
            rows.append((rule.rule, _shown(rule.measured), f"{rule.relation} {_shown(rule.limit)}", verdict, rule.note))
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        lines = [
            "  ".join([*(cell.ljust(width) for cell, width in zip(row[:4], widths, strict=True)), row[4]]).rstrip()
            for row in rows
        ]
        against = "no champion" if self.against is None else f"champion version {self.against}"
        verdict = "passes" if self.passed else "is refused"
        return "\n".join([f"{self.name} version {self.version} {verdict}, against {against}:", *lines])

    def as_dict(self) -> dict[str, Any]:
        """The report as plain JSON values; a missing or undefined number is None."""
        return {
            "name": self.name,
            "version": self.version,
            "against": self.against,
            "passed": self.passed,
            "rules": [
                {
                    "rule": rule.rule,
                    "measured": rule.measured if _finite(rule.measured) else None,
                    "relation": rule.relation,
                    "limit": rule.limit,
                    "passed": rule.passed,
                    "note": rule.note,
                }
                for rule in self.rules
            ],
            "next_command": self.next_command,
        }


def report_from_dict(document: Mapping[str, Any]) -> GateReport:
    """The report that `as_dict` made a document of; KeyError or TypeError for another document."""
    rules = tuple(RuleResult(**rule) for rule in document["rules"])
    return GateReport(document["name"], document["version"], document["against"], rules)


def gate(candidate: Candidate, champion: Candidate | None, policy: Policy) -> GateReport:
    """Compare `candidate` with what `policy` wants and with `champion`, on the images that both have answered."""
    rules = [
        _complete(candidate.evaluation),
        _minimum_accuracy(candidate.evaluation, policy),
        *_against_champion(candidate.evaluation, champion, policy),
        _parity(candidate.parity, policy),
        _size(candidate.size_bytes, policy),
        *([_signature(candidate.signature)] if policy.require_signature else []),
    ]
    return GateReport(candidate.name, candidate.version, None if champion is None else champion.version, tuple(rules))


def _complete(evaluation: Evaluation | None) -> RuleResult:
    problems = ["not evaluated"] if evaluation is None else list(_problems(evaluation))
    return RuleResult("missing numbers", len(problems), "at most", 0, not problems, _several(problems))


def _problems(evaluation: Evaluation) -> Iterator[str]:
    """Each number of an evaluation that is undefined, or is not what its own predictions give."""
    for name in ("top3_accuracy", "macro_f1", "log_loss", "calibration_error"):
        if not _finite(getattr(evaluation, name)):
            yield f"{name} is undefined"
    if not evaluation.images:
        yield "the split has no images"
        return
    hits = evaluation.truth == evaluation.predicted
    if not _same(evaluation.accuracy, float(hits.mean())):
        yield f"accuracy is recorded as {_shown(evaluation.accuracy)}, its predictions give {_shown(hits.mean())}"
    for index, label in enumerate(evaluation.labels):
        of_class = evaluation.truth == index
        recorded = evaluation.per_class[label]
        if not of_class.any():
            yield f"class {label!r} has no image in the split"
        elif recorded.support != of_class.sum() or not _same(recorded.recall, float(hits[of_class].mean())):
            yield f"recall of class {label!r} is recorded as {_shown(recorded.recall)}, its predictions differ"


def _minimum_accuracy(evaluation: Evaluation | None, policy: Policy) -> RuleResult:
    accuracy = None if evaluation is None else evaluation.accuracy
    return _at_least("accuracy", accuracy, policy.minimum_accuracy)


def _parity(parity: float | None, policy: Policy) -> RuleResult:
    return _at_most("parity", parity, policy.maximum_parity, "servable against the trained network")


def _size(size_bytes: int | None, policy: Policy) -> RuleResult:
    size_mb = None if size_bytes is None else size_bytes / 1e6
    return _at_most("size, MB", size_mb, policy.maximum_size_mb)


def _signature(found: SignatureCheck | None) -> RuleResult:
    if found is None:
        return _at_least("signature", None, 1, "nobody has verified it")
    note = f"by key {found.key_id}" if found.key_id else found.problem
    return _at_least("signature", 1 if found.key_id else 0, 1, note)


def _against_champion(new: Evaluation | None, champion: Candidate | None, policy: Policy) -> list[RuleResult]:
    old = None if champion is None else champion.evaluation
    if champion is None:
        return _without_comparison(policy, passed=True, note=_NO_CHAMPION)
    if new is None or old is None:
        missing = "candidate" if new is None else "champion"
        return _without_comparison(policy, passed=False, note=f"cannot compare: the {missing} is not evaluated")
    if difference := _difference_of_data(new, old):
        return _without_comparison(policy, passed=False, note=f"cannot compare: {difference}")
    return [_accuracy_change(new, old, policy), _paired_test(new, old, policy), *_recall_falls(new, old, policy)]


def _without_comparison(policy: Policy, *, passed: bool, note: str) -> list[RuleResult]:
    return [
        RuleResult(_ACCURACY_CHANGE, None, "at least", -policy.champion_margin, passed, note),
        RuleResult(_PAIRED_TEST, None, "at least", policy.significance, passed, note),
        RuleResult(_RECALL_FALL, None, "at most", policy.recall_drop, passed, note),
        RuleResult(_SMALL_RECALL_FALL, None, "at most", policy.recall_drop, passed, note),
    ]


def _difference_of_data(new: Evaluation, old: Evaluation) -> str:
    """Why two evaluations are not on the same images with the same labels; empty if they are."""
    if not new.images:
        return "the split has no images"
    if new.labels != old.labels:
        added, gone = sorted(set(new.labels) - set(old.labels)), sorted(set(old.labels) - set(new.labels))
        return f"the labels differ (added {added}, gone {gone}{'' if added or gone else ', another order'})"
    if new.split_digest != old.split_digest:
        return f"the champion was evaluated on split {old.split_digest[:12]}, the candidate on {new.split_digest[:12]}"
    if not np.array_equal(new.truth, old.truth):
        return "the true labels differ on the same split"
    if not _same(old.accuracy, float(np.mean(old.predicted == old.truth))):
        return f"the champion's accuracy is recorded as {_shown(old.accuracy)}, its predictions differ"
    return ""


def _accuracy_change(new: Evaluation, old: Evaluation, policy: Policy) -> RuleResult:
    note = f"champion has {_shown(old.accuracy)}"
    return _at_least(_ACCURACY_CHANGE, new.accuracy - old.accuracy, -policy.champion_margin, note)


def _paired_test(new: Evaluation, old: Evaluation, policy: Policy) -> RuleResult:
    """McNemar's test, exact and one-sided, on the images that one network has right and the other wrong.

    It refuses a candidate that is worse by more than chance, also where the change in accuracy is within the margin.
    Q. McNemar, Psychometrika 12 (1947), 153-157; recommended for comparing two classifiers that are trained once by
    T. G. Dietterich, Approximate statistical tests, Neural Computation 10 (1998), 1895-1923.
    """
    from scipy.stats import binomtest

    new_right, old_right = new.predicted == new.truth, old.predicted == old.truth
    lost = int(np.sum(old_right & ~new_right))
    won = int(np.sum(new_right & ~old_right))
    p = float(binomtest(lost, lost + won, 0.5, alternative="greater").pvalue) if lost + won else 1.0
    note = f"{lost} images lost, {won} won (exact McNemar test, one-sided)"
    return _at_least(_PAIRED_TEST, p, policy.significance, note)


def _recall_falls(new: Evaluation, old: Evaluation, policy: Policy) -> Iterator[RuleResult]:
    """Large classes each on their own; small ones together.

    The recall of a class with three images moves by a third when one of them flips, which says nothing; ignoring such
    classes would let a candidate forget them all. So they form one group, held to the same limit, except that a
    single image more or less never decides.
    """
    support = np.bincount(new.truth, minlength=len(new.labels))
    large = [i for i, images in enumerate(support) if images >= policy.recall_minimum_support]
    small = [i for i, images in enumerate(support) if 0 < images < policy.recall_minimum_support]
    least = policy.recall_minimum_support

    if large:
        falls = {i: _recall(old, [i]) - _recall(new, [i]) for i in large}
        worst = max(large, key=lambda i: falls[i])
        note = f"largest: class {new.labels[worst]!r}, {support[worst]} images"
        yield _at_most(_RECALL_FALL, max(falls[worst], 0.0), policy.recall_drop, note)
    else:
        note = f"no class has {least} images"
        yield RuleResult(_RECALL_FALL, None, "at most", policy.recall_drop, passed=True, note=note)

    if small:
        images = int(support[small].sum())
        limit = max(policy.recall_drop, 1 / images)
        note = f"{len(small)} classes under {least} images, judged together on {images}"
        yield _at_most(_SMALL_RECALL_FALL, max(_recall(old, small) - _recall(new, small), 0.0), limit, note)
    else:
        note = f"every class has {least} images or more"
        yield RuleResult(_SMALL_RECALL_FALL, None, "at most", policy.recall_drop, passed=True, note=note)


def _recall(evaluation: Evaluation, classes: list[int]) -> float:
    of_classes = np.isin(evaluation.truth, classes)
    return float(np.mean(evaluation.predicted[of_classes] == evaluation.truth[of_classes]))


def _at_least(rule: str, measured: float | None, limit: float, note: str = "") -> RuleResult:
    passed = _finite(measured) and measured >= limit - _ROUNDING * abs(limit)
    return RuleResult(rule, measured, "at least", limit, passed, note)


def _at_most(rule: str, measured: float | None, limit: float, note: str = "") -> RuleResult:
    passed = _finite(measured) and 0 <= measured <= limit + _ROUNDING * abs(limit)
    return RuleResult(rule, measured, "at most", limit, passed, note)


def _finite(number: float | None) -> TypeGuard[float]:
    return number is not None and math.isfinite(number)


def _same(recorded: float, computed: float) -> bool:
    return abs(recorded - computed) <= 1e-6


def _shown(number: float | None) -> str:
    return f"{number:.4g}" if _finite(number) else "missing"


def _several(problems: list[str]) -> str:
    return "; ".join(problems[:3]) + (f"; and {len(problems) - 3} more" if len(problems) > 3 else "")
