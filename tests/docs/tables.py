"""The tables of the documents that the code decides: `python -m tests.docs.tables` writes them, a test compares."""

import re
from dataclasses import Field, fields
from pathlib import Path

import click

from pipeline.cli import main
from pipeline.options import HELP, config_keys
from serving.model_server.flags import Flags
from serving.model_server.unsupported_flags import UNSUPPORTED

DOCS = Path(__file__).parents[2] / "docs"
ARGUMENTS = {
    "images": ("`IMAGES...`", "Image files, or folders of them."),
    "answer": ("`REQUEST_ID` or `VERSION`", "An answer's `x-slipway-request-id`, or a model version's number."),
    "file": ("`FILE`", "The file that the command makes or changes."),
    "key_id": ("`KEY_ID`", "A key's id: 32 hex digits, as `slipway keys list` shows them."),
    "model": ("`NAME`", "Registered model's name; the same as `--name`."),
}


def tables() -> dict[tuple[str, str], str]:
    """Page and heading -> the table below it."""
    sections = sorted({key.partition(".")[0] for key in config_keys() if "." in key})
    return {
        ("configuration.md", "For every command that uses them"): _configuration(""),
        **{("configuration.md", section): _configuration(section) for section in sections},
        **{("commands.md", name): _options(command) for name, command in commands().items()},
        ("model-server.md", "Flags"): _flags(),
        ("tensorflow-serving-compatibility.md", "Flags"): _tensorflow_serving_flags(),
        ("tensorflow-serving-compatibility.md", "Flags of our own"): _flags(of_our_own=True),
    }


def commands() -> dict[str, click.Command]:
    """By the words after `slipway`; of a group such as `keys`, each of its commands."""
    found: dict[str, click.Command] = {}
    for name, command in main.commands.items():
        of_group = command.commands if isinstance(command, click.Group) else {}
        found |= {f"{name} {sub}": each for sub, each in of_group.items()} or {name: command}
    return found


def shown(page: str, heading: str) -> str:
    """The first table below a heading of a page, as it stands there."""
    found = _place(heading).search((DOCS / page).read_text(encoding="utf-8"))
    assert found, f"docs/{page} has no heading {heading!r} with a table below it; run python -m tests.docs.tables"
    return found["table"]


def write() -> None:
    """Put every table in its place."""
    for (page, heading), table in tables().items():
        shown(page, heading)
        text = (DOCS / page).read_text(encoding="utf-8")
        text = _place(heading).sub(lambda found, new=table: found["before"] + new, text, count=1)
        (DOCS / page).write_text(text, encoding="utf-8")


def _configuration(section: str) -> str:
    rows = [
        (f"`{item.key}`", f"`{item.flag}`", _default(item.default), HELP[item.key])
        for item in config_keys().values()
        if item.key.rpartition(".")[0] == section
    ]
    return _table(("key", "option", "default", ""), rows)


def _options(command: click.Command) -> str:
    """A command's own options, and which part of the configuration it takes."""
    is_configured = any(parameter.name == "config" for parameter in command.params)  # else --name is its own
    of_configuration = {item.parameter: item.key for item in config_keys().values() if is_configured}
    rows, taken = [], []
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            rows.append(ARGUMENTS[parameter.name])
        elif parameter.name in of_configuration:
            taken.append(of_configuration[parameter.name])
        else:
            rows.append((f"`{parameter.opts[0]}`", re.sub(r" +", " ", parameter.help)))
    parts = dict.fromkeys(key.partition(".")[0] for key in taken)
    if parts:
        rows.append(("[configuration](configuration.md)", ", ".join(f"`{part}`" for part in parts)))
    return _table(("option", ""), rows)


def _flags(*, of_our_own: bool = False) -> str:
    chosen = [flag for flag in fields(Flags) if not of_our_own or is_our_own(flag)]
    return _table(("flag", "default", ""), [_flag(flag) for flag in chosen])


def is_our_own(flag: Field) -> bool:
    """Whether TensorFlow Serving has no such flag."""
    return flag.metadata["help"].startswith("Slipway's")


def _tensorflow_serving_flags() -> str:
    rows = {flag.name: _flag(flag) for flag in fields(Flags) if not is_our_own(flag)}
    for name, flag in UNSUPPORTED.items():
        same = f"`{str(flag.same_as_here).lower()}`" if flag.same_as_here != "" else "empty"
        rows[name] = (f"`--{name}`", "-", f"Not supported: {flag.reason}. {flag.instead} Taken if it is {same}.")
    return _table(("flag", "default here", "here"), [row for _, row in sorted(rows.items())])


def _flag(flag: Field) -> tuple[str, str, str]:
    return f"`--{flag.name}`", _default(flag.default), flag.metadata["help"]


def _default(value: object) -> str:
    return "none" if value == "" else f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _table(headings: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [headings, ("---",) * len(headings), *(tuple(cell.replace("|", "\\|") for cell in row) for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n".replace("|  |", "| |") for line in lines)


def _place(heading: str) -> re.Pattern[str]:
    return re.compile(
        rf"(?P<before>^#+ {re.escape(heading)}\n(?:(?!#)(?!\|).*\n)*)(?P<table>(?:\|.*\n)+)", re.MULTILINE
    )


if __name__ == "__main__":
    write()
