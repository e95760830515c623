"""Documents name only what exists, and leave out nothing that a user can set."""

import ast
import importlib.util
import re
import shlex
import subprocess
from dataclasses import fields
from pathlib import Path

import click
import pytest
import yaml
from mlflow.deployments.cli import commands as deployments

from pipeline.cli import main
from pipeline.config import load_config
from registry.gate import Candidate, gate
from registry.policy import Policy
from serving.model_server.flag_parsing import parse_flags
from serving.model_server.runtimes import RUNTIMES
from serving.servable.layout import published_path
from serving.targets import TARGETS
from slipway.errors import InputError
from tests.docs.pages import PAGES, ROOT, anchors, blocks, inline_commands, links, prose, shown
from tests.docs.tables import shown as table_shown
from tests.docs.tables import tables

README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCS = {page.relative_to(ROOT).as_posix(): page for page in PAGES}
TARGETS_OF_MAKE = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
OTHER_PROGRAMS = {".", "curl", "docker", "export", "kubectl", "printf", "tensorflow_model_server"}
PLACEHOLDER = re.compile(r"\b(?:N|RUN_ID|TEXT|IMAGE|FILE|PATH|NAME|STEP|COMMAND)\b|\.\.\.")


def check_command(command: str) -> None:
    """Fail unless the command's program, subcommand, options and values can be used as they are written."""
    words = shlex.split(command)
    match words:
        case ["slipway", name, *rest] | ["python", "-m", "pipeline", name, *rest]:
            check_slipway(name, rest)
        case ["make", *rest]:
            assert {word for word in rest if "=" not in word and word.isalpha()} <= TARGETS_OF_MAKE
        case ["mlflow", "run", "." | "deploy/mlflow-run" as folder, *rest]:
            check_mlflow_run(ROOT / folder, rest)
        case ["mlflow", "deployments", name, *rest]:
            deployments.commands[name].make_context(name, rest, parent=click.Context(deployments))
        case ["slipway-model-server", *rest] | ["python", "-m", "serving.model_server", *rest]:
            # A file that is not there is refused: one that is stands for it.
            there = [re.sub(r"_config_file=.*", f"_config_file={__file__}", word) for word in rest]
            listed = any(word.startswith("--model_config_file=") for word in rest)
            parse_flags(there if listed else [*there, "--model_base_path=x"])
        case ["python", "-m", module, *_]:
            assert importlib.util.find_spec(module)
        case [program, *_]:
            assert program in OTHER_PROGRAMS, f"{program}: neither ours, nor one that the documents may use"


def check_slipway(name: str, rest: list[str]) -> None:
    if name in {"COMMAND", "STEP"}:
        return
    assert name in main.commands, f"no command {name!r}"
    command = main.commands[name]
    if isinstance(command, click.Group):
        if not rest:
            return
        assert rest[0] in command.commands, f"slipway {name} has no command {rest[0]!r}"
        command, rest = command.commands[rest[0]], rest[1:]
    values = [PLACEHOLDER.sub("1", word) for word in rest]
    for bare in [word for word in values if word.startswith("--") and word not in all_options(command)]:
        raise AssertionError(f"slipway {name} has no option {bare}")
    if values and values[-1].startswith("--"):
        values.append("1" if not takes_nothing(command, values[-1]) else "true")
    command.make_context(name, values, parent=click.Context(main))


def all_options(command: click.Command) -> set[str]:
    return {"--help"} | {option for parameter in command.params for option in parameter.opts}


def takes_nothing(command: click.Command, option: str) -> bool:
    return any(option in parameter.opts and parameter.flag_value for parameter in command.params)


def check_mlflow_run(folder: Path, rest: list[str]) -> None:
    project = yaml.safe_load((folder / "MLproject").read_text(encoding="utf-8"))
    entry = rest[rest.index("-e") + 1] if "-e" in rest else "main"
    if entry in {"COMMAND", "STEP"}:
        return
    given = [
        rest[place + 1].partition("=")[0] for place, word in enumerate(rest) if word == "-P" and place + 1 < len(rest)
    ]
    assert set(given) - {"..."} <= set(project["entry_points"][entry]["parameters"])


@pytest.mark.parametrize("page", DOCS.values(), ids=DOCS)
def test_every_command_of_a_page_exists_and_takes_what_it_is_given(page):
    for command in [*(each.command for each in shown(page)), *inline_commands(page)]:
        try:
            check_command(command)
        except (AssertionError, InputError, click.ClickException) as error:
            pytest.fail(f"{page.name}: `{command}`: {error}")


@pytest.mark.parametrize("page", DOCS.values(), ids=DOCS)
def test_every_link_leads_somewhere(page):
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name} links to {link}"
        assert not anchor or anchor in anchors(target), f"{page.name} links to {link}"


@pytest.mark.parametrize("page", DOCS.values(), ids=DOCS)
def test_every_program_and_every_configuration_of_a_page_can_be_read(page, tmp_path):
    for program in blocks(page, "python"):
        ast.parse(program)
    for number, text in enumerate(blocks(page, "yaml")):
        file = tmp_path / f"{number}.yaml"
        file.write_text(text, encoding="utf-8")
        load_config(str(file))


@pytest.mark.parametrize(("page", "heading"), tables(), ids=lambda part: part)
def test_tables_say_what_the_code_says(page, heading):
    assert table_shown(page, heading) == tables()[page, heading], "run python -m tests.docs.tables"


def test_the_readme_and_the_changelog_name_every_command():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    for name in main.commands:
        assert f"| `slipway {name}` |" in README
        assert f"`{name}`" in changelog or f"`slipway {name}`" in changelog


def test_every_page_can_be_reached_from_the_readme():
    reached, pending = set(), [ROOT / "README.md"]
    while pending:
        page = pending.pop()
        reached.add(page)
        targets = [(page.parent / link.partition("#")[0]).resolve() for link in links(page)]
        targets += [target / "README.md" for target in targets if target.is_dir()]
        pending += [target for target in targets if target in PAGES and target not in reached]
    assert set(PAGES) - reached - {ROOT / "CHANGELOG.md"} == set()


def test_every_target_and_every_runtime_is_documented():
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    for name in [*TARGETS, *RUNTIMES]:
        assert f"`{name}`" in text


def test_every_rule_of_the_gate_and_every_limit_of_its_policy_is_explained():
    page = (ROOT / "docs" / "promote-and-roll-back.md").read_text(encoding="utf-8")
    for result in gate(Candidate("x", 1, None, None, None), None, Policy()).rules:
        assert f"| `{result.rule}` |" in page
    for limit in fields(Policy):
        assert f"`gate.{limit.name}`" in page


def test_the_published_paths_on_the_page_about_the_servable_are_the_ones_of_the_layout():
    rows = re.findall(r"^\| `(\S+)` \| `(\S+)` \|$", (ROOT / "docs" / "servable.md").read_text(), re.MULTILINE)
    assert len(rows) == 6
    for bundled, published in rows:
        assert published_path(bundled) == published


@pytest.mark.parametrize("record", sorted((ROOT / "docs" / "adr").glob("0*.md")), ids=lambda path: path.stem)
def test_a_decision_is_listed_and_has_context_decision_and_consequences(record):
    text = record.read_text(encoding="utf-8")
    assert re.findall(r"^\*\*(\w+)\.\*\*", text, re.MULTILINE) == ["Context", "Decision", "Consequences"]
    assert text.startswith(f"# {record.name[:4]} ")
    assert f"]({record.name})" in (record.parent / "README.md").read_text(encoding="utf-8")


def test_make_has_at_most_ten_targets_and_each_is_documented():
    contributing = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert len(TARGETS_OF_MAKE) <= 10
    for target in TARGETS_OF_MAKE:
        assert f"| `make {target}` |" in contributing


def test_hooks_are_local_and_are_the_checks_of_make_lint():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert [repository["repo"] for repository in hooks["repos"]] == ["local"]
    recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)[1]
    wanted = {tuple(line.split()[:2]) for line in recipe.splitlines()}
    have = [hook["entry"].removeprefix(".venv/bin/").split() for hook in hooks["repos"][0]["hooks"]]
    assert {words[0] for words in have} == {words[0] for words in wanted}
    assert all(hook["language"] == "system" for hook in hooks["repos"][0]["hooks"])


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def test_nothing_in_the_tree_names_a_folder_of_its_makers_or_an_address_to_download_from():
    # KServe brings models to that directory below /mnt.
    own_folder = re.compile(r"(?<![\w./])/(?:work|root|opt|mnt(?!/models\b)|Users)/\w")
    download = re.compile(
        r"https?://(?:[\w-]+\.)*(?:pypi|pythonhosted|storage\.googleapis|github|huggingface)\.\w+", re.IGNORECASE
    )
    for file in tracked():
        if file.name in {"LICENSE", Path(__file__).name}:
            continue
        text = file.read_text(encoding="utf-8", errors="ignore")
        for pattern in (own_folder, download):
            found = pattern.search(text)
            assert not found, f"{file.relative_to(ROOT)}: {found[0]}"


def test_prose_names_no_file_of_the_project_that_is_not_there():
    for page in PAGES:
        for path in re.findall(
            r"`((?:pipeline|registry|serving|slipway|tests|benchmarks|requirements|docs)/[\w./-]+)`", prose(page)
        ):
            if "NAME" not in path:
                assert (ROOT / path).exists(), f"{page.name}: {path}"


@pytest.mark.parametrize("page", DOCS.values(), ids=DOCS)
def test_the_commands_of_a_page_ask_the_quickstarts_model_or_one_that_the_page_makes(page):
    commands = [
        one.command for one in shown(page) if not one.command.startswith(("slipway tokens", "docker", "kubectl"))
    ]
    known = {load_config(ROOT / "pipeline" / "conf" / "quickstart.yaml").name, "NAME"}
    known |= {name for command in commands for name in re.findall(r"^slipway main .*--name (\S+)", command)}
    text = "\n".join([*commands, *inline_commands(page), prose(page)])
    named = {*re.findall(r"/v1/models/(\w+):", text), *re.findall(r"\bserving_base/(\w+)/", text)}
    named |= set(re.findall(r"--name[ =](\S+)", "\n".join(commands)))
    assert named <= known
