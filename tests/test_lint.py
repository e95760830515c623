"""What `make lint` looks for is found by it, and what it leaves is whole."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RECIPE = re.search(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].splitlines()
# Put together here: this file is looked through, too.
PLANTED = {
    "Private Key": "-----BEGIN RSA PRIVATE " + "KEY-----",
    "AWS Access Key": "aws_key = 'AKIA" + "QYLPMN5HHHFPZAM2'",
    "Basic Auth Credentials": "url = 'postgresql://slipway:" + "x7Gq9rT2@db/ledger'",
    "Hex High Entropy String": "key = '" + "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b'",
    "GitHub Token": "token = 'ghp_" + "wWPw5k4aXcaT4fNP0UcnZwJUVFk6LO0pINUx'",
}


def command(tool):
    """The arguments with which the recipe calls a tool."""
    (words,) = [line.split() for line in RECIPE if line.split()[0] == tool]
    return [str(Path(sys.executable).with_name(tool)), *words[1:]]


@pytest.mark.parametrize("kind", PLANTED)
def test_a_secret_in_a_file_is_found(tmp_path, kind):
    planted, clean = tmp_path / "settings.py", tmp_path / "clean.py"
    planted.write_text(f"{PLANTED[kind]}\n")
    clean.write_text("digits = 'hidden'\n")
    tool = command("detect-secrets-hook")
    assert tool[-2:] == ["$$(git", "ls-files)"]
    for file, code in ((planted, 1), (clean, 0)):
        done = subprocess.run([*tool[:-2], file], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stdout
        assert (kind in done.stdout) == bool(code)


def test_no_finding_is_kept_as_known():
    """What is no secret is marked where it stands, or by what all such have in common."""
    assert json.loads((ROOT / ".secrets.baseline").read_text())["results"] == {}


@pytest.mark.parametrize(
    ("program", "found"),
    [
        ("import subprocess\nsubprocess.run('ls ' + input(), shell=True)\n", "B602"),
        ("import pickle\npickle.loads(input().encode())\n", "B301"),
        ("import yaml\nyaml.load(input(), Loader=yaml.Loader)\n", "B506"),
        ("import hashlib\nhashlib.md5(b'')\n", "B324"),
        ("import tarfile\ntarfile.open('x').extractall('.')\n", "B202"),
    ],
)
def test_insecure_code_is_found(tmp_path, program, found):
    (tmp_path / "program.py").write_text(program)
    config = command("bandit")[: command("bandit").index("-r") + 1]
    done = subprocess.run([*config, tmp_path], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"[{found}:" in done.stdout


def test_bandit_is_run_on_every_package():
    packages = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]["packages"])
    looked_at = command("bandit")[command("bandit").index("-r") + 1 :]
    assert packages <= set(looked_at)


def test_every_exception_names_its_rule_and_has_a_reason_beside_it():
    allowed = re.compile(r"# (?:noqa: S\d+ - )?(?P<reason>[\w' ,.]+) # nosec B\d{3}$")
    for package in command("bandit")[command("bandit").index("-r") + 1 :]:
        for file in (ROOT / package).rglob("*.py"):
            for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
                assert "# nosec" not in line or allowed.search(line), f"{file}:{number}: {line}"


@pytest.mark.integration
def test_the_bill_of_materials_lists_every_locked_package_with_its_digests(tmp_path):
    words = command("cyclonedx-py")
    place = words.index("-o") + 1
    assert words[place].startswith(".venv/")
    words[place] = str(tmp_path / "sbom.json")
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    bill = json.loads((tmp_path / "sbom.json").read_bytes())
    assert {"serialNumber", "timestamp"} & {*bill, *bill["metadata"]} == set()  # the same for the same requirements
    locked = (ROOT / "requirements/pipeline.txt").read_text()
    wanted = dict(re.findall(r"^([\w.-]+)(?:\[[\w,-]+\])?==(\S+)", locked, re.MULTILINE))
    assert len(wanted) > 100
    assert {each["name"]: each["version"] for each in bill["components"]} == wanted
    digests = {
        digest["content"]
        for each in bill["components"]
        for reference in each["externalReferences"]
        for digest in reference["hashes"]
    }
    assert digests == set(re.findall(r"--hash=sha256:(\w{64})", locked))
