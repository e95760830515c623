"""`slipway tokens`: what is shown, what is kept, and what is not."""

import hashlib
import json
import stat

import pytest
from click.testing import CliRunner

from pipeline.cli import main


@pytest.fixture
def file(tmp_path):
    return tmp_path / "tokens"


def tokens(*words):
    return CliRunner().invoke(main, ["tokens", *map(str, words)])


def test_create_prints_the_token_alone_and_keeps_its_digest(file):
    done = tokens("create", "--name", "website", "--scope", "predict,metrics", "--expires", "2999-01-01", file)
    assert done.exit_code == 0, done.output
    token = done.stdout.strip()
    digest = hashlib.sha256(token.encode()).hexdigest()
    assert file.read_text() == f"website predict,metrics 2999-01-01 sha256:{digest}\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert token not in done.stderr
    assert str(file) in done.stderr


def test_a_token_is_for_predictions_and_for_ever_unless_told_otherwise(file):
    assert tokens("create", "--name", "one", file).exit_code == 0
    assert file.read_text().startswith("one predict never sha256:")


def test_list_says_who_what_and_until_when_and_no_digest(file):
    tokens("create", "--name", "one", file)
    tokens("create", "--name", "two", "--scope", "admin,predict", "--expires", "2020-01-01", file)
    done = tokens("list", file)
    assert done.stdout.splitlines() == [
        "name  scopes         expires     state",
        "one   predict        never       valid",
        "two   predict,admin  2020-01-01  expired",
    ]
    rows = json.loads(tokens("list", "--json", file).stdout)
    assert rows[1] == {"name": "two", "scopes": "predict,admin", "expires": "2020-01-01", "state": "expired"}


def test_remove_takes_away_that_token_alone(file):
    tokens("create", "--name", "one", file)
    tokens("create", "--name", "two", file)
    assert tokens("remove", "--name", "one", file).exit_code == 0
    assert [row["name"] for row in json.loads(tokens("list", "--json", file).stdout)] == ["two"]


@pytest.mark.parametrize(
    ("words", "code", "expected"),
    [
        (("create",), 2, "--name is missing"),
        (("create", "--name", "a b"), 2, "a token's name: expected"),
        (("create", "--name", "a", "--scope", "root"), 2, "expected one or more of predict, metrics, admin"),
        (("create", "--name", "a", "--expires", "soon"), 2, "as 2027-01-01, or never"),
        (("create", "--name", "there"), 2, "has a token there; expected a new name"),
        (("remove", "--name", "nobody"), 1, "has no token nobody; it has there"),
        (("remove",), 2, "--name is missing"),
    ],
)
def test_a_mistake_changes_nothing_and_says_what_was_expected(file, words, code, expected):
    tokens("create", "--name", "there", file)
    before = file.read_bytes()
    done = tokens(*words, file)
    assert (done.exit_code, done.stdout) == (code, "")
    assert expected in done.stderr
    assert file.read_bytes() == before


def test_a_file_that_is_not_there_is_not_listed(file):
    done = tokens("list", file)
    assert done.exit_code == 2
    assert f"{file}: cannot be read (No such file or directory)" in done.stderr
