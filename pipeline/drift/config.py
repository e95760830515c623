"""What a drift check is told: how windows are cut, when they count as found, and which trifles do not."""

from dataclasses import dataclass, fields

from slipway.errors import InputError


@dataclass(frozen=True)
class DriftConfig:
    """InputError, naming the key, for a value that makes no sense."""

    window: int = 500  # records in a window
    windows: int = 5  # the last so many windows are looked at
    found_windows: int = 3  # and a measure has to be found in so many of them
    alpha: float = 0.01  # chance of a finding in a check without drift, over all measures and windows
    least_samples: int = 100  # embeddings, images or labels in a window, for it to be judged by them
    max_age_s: float = 604_800.0  # older records are not looked at
    class_mix_effect: float = 0.1  # least Cramer's V, corrected for its bias
    confidence_effect: float = 0.1  # least Kolmogorov-Smirnov distance
    embedding_effect: float = 0.05  # least area under the curve of a classifier between both, beyond 0.5
    image_effect: float = 0.1  # least Kolmogorov-Smirnov distance
    accuracy_effect: float = 0.03  # least loss of accuracy
    check_interval_s: float = 3600.0  # between two checks of --watch

    def __post_init__(self) -> None:
        _check(self, "window", self.window >= 20, "20 or more")
        _check(self, "windows", self.windows >= 1, "1 or more")
        _check(self, "found_windows", 1 <= self.found_windows <= self.windows, f"1 to drift.windows, {self.windows}")
        _check(self, "alpha", 0 < self.alpha <= 0.5, "more than 0 and at most 0.5")
        _check(self, "least_samples", 10 <= self.least_samples <= self.window, f"10 to drift.window, {self.window}")
        _check(self, "max_age_s", self.max_age_s > 0, "more than 0")
        _check(self, "check_interval_s", self.check_interval_s >= 1, "1 or more")
        for item in fields(self):
            if item.name.endswith("_effect"):
                _check(self, item.name, 0 <= getattr(self, item.name) < 1, "at least 0 and less than 1")


def _check(config: DriftConfig, key: str, right: bool, expected: str) -> None:
    if not right:
        raise InputError(
            f"drift.{key} is {getattr(config, key)}; expected {expected}. Edit it or pass --{key.replace('_', '-')}."
        )
