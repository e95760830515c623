"""What a retraining came to, as a value: one line, a document, an exit code."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from registry.gate import GateReport

Ending = Literal["promoted", "canary", "refused", "declined", "busy"]
_REFUSED = 3


@dataclass(frozen=True)
class Outcome:
    """How it ended, and why. busy: another process retrains this model. run_id: empty where nothing was begun.

    trained_on, accuracy: the number of the held-out images, and the candidate's share of them that is right.
    excluded: images of the regression set that the source had, and that were taken out of it.
    """

    name: str
    ending: Ending
    why: str
    run_id: str = ""
    version: int | None = None
    gate: GateReport | None = None
    resumed: bool = False
    excluded: int = 0

    @property
    def exit_code(self) -> int:
        """0: promoted, canary, or rightly nothing; 3: the candidate was refused."""
        return _REFUSED if self.ending == "refused" else 0

    @property
    def refused_by_numbers(self) -> bool:
        """Whether a rule that was measured refused the candidate; else the same images may do on another day."""
        rules = self.gate.rules if self.ending == "refused" and self.gate is not None else ()
        return any(not rule.passed and rule.measured is not None and rule.rule != "signature" for rule in rules)

    def line(self) -> str:
        """All of it in one line."""
        which = "" if self.version is None else f" version {self.version}"
        again = ", resumed" if self.resumed else ""
        said = {
            "promoted": f"promoted{which}{again}",
            "canary": f"started{which} as the canary{again}",
            "refused": f"refused{which}, what is live stays{again}",
            "declined": "not retrained",
            "busy": "not retrained, another process is at it",
        }[self.ending]
        run = f"; run {self.run_id}" if self.run_id else ""
        return f"{self.name}: {said} ({self.why}){self._numbers()}{run}"

    def text(self) -> str:
        """The whole report."""
        return "\n".join([*([self.gate.table(), ""] if self.gate else []), self.line()])

    def as_dict(self) -> dict[str, Any]:
        """The outcome as plain JSON values."""
        return {
            **asdict(self),
            "gate": None if self.gate is None else self.gate.as_dict(),
            "exit_code": self.exit_code,
            "summary": self.line(),
        }

    def _numbers(self) -> str:
        """The refusing rules, or else the accuracies."""
        if self.gate is None:
            return ""
        refusing = [
            f"{rule.rule} ({rule.note})" if rule.note else rule.rule for rule in self.gate.rules if not rule.passed
        ]
        if refusing:
            return f"; refused by {'; '.join(refusing)}"
        shown = ("accuracy", "accuracy change", "regression set", "champion's regression set")
        numbers = [
            f"{rule.rule} {rule.measured:.4f}"
            for rule in self.gate.rules
            if rule.rule in shown and rule.measured is not None
        ]
        return f"; {', '.join(numbers)}"
