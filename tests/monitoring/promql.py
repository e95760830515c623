"""Which metrics a PromQL expression names, and which labels it names of them."""

import re
from dataclasses import dataclass

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_SELECTOR = re.compile(r"([a-zA-Z_:][\w:]*)\s*\{([^}]*)\}")
_NAME = re.compile(r"(?<![\w:.])[a-zA-Z_:][\w:]*(?![\w:]*\s*\()")
_WORDS = {"and", "or", "unless", "bool", "offset", "by", "on", "Inf", "NaN"}
_VARIABLES = {"$model": ".*", "$version": ".*", "$__rate_interval": "5m"}


@dataclass(frozen=True)
class Named:
    """metrics: by name, the labels that selectors ask for. grouped: labels of `by`, `on` and their like."""

    metrics: dict[str, set[str]]
    grouped: set[str]


def resolved(expression):
    """The expression as Grafana sends it, with something for each variable."""
    for name, value in _VARIABLES.items():
        expression = expression.replace(name, value)
    return expression


def named(expression):
    text = _STRING.sub('""', resolved(expression))
    grouped = {label.strip() for labels in _GROUPING.findall(text) for label in labels.split(",") if label.strip()}
    text = _GROUPING.sub(" ", text)
    metrics = {}
    for name, matchers in _SELECTOR.findall(text):
        metrics.setdefault(name, set()).update(re.findall(r"([a-zA-Z_]\w*)\s*[=!]", matchers))
    rest = re.sub(r"\[[^\]]*\]", " ", re.sub(r"\{[^}]*\}", " ", text))
    for name in set(_NAME.findall(rest)) - _WORDS:
        metrics.setdefault(name, set())
    return Named(metrics, grouped)
