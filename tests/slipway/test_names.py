"""Names that become paths, addresses and keys: what is given is a plain name, or an input error of one short line."""

from pathlib import PurePosixPath
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from slipway.errors import InputError
from slipway.names import check_alias, check_model_name, check_version, is_model_name, version_of_directory

LARGEST = 2**63 - 1
HOSTILE = [
    "",
    ".",
    "..",
    "../x",
    "a/b",
    "a\\b",
    "/etc/passwd",
    "a\0b",
    "a\n",
    "\na",
    "a b",
    " a",
    "-a",
    "--name",
    "_a",
    ".hidden",
    "a.b",
    "a:b",
    "a@b",
    "a%2fb",
    "a?b",
    "a#b",
    "a'b",
    'a"b',
    "a;b",
    "a`b",
    "$(id)",
    "caf\u00e9",
    "\u0430",  # a Cyrillic letter that looks like ours
    "a\u0301",
    "\u0661",  # a digit, but not ours
    "\ud800",
    "a" * 101,
    "a" * 100_000,
]


def taken(check, name):
    """What the check makes of a name; None for an input error of one short line."""
    try:
        return check(name)
    except InputError as error:
        said = str(error)
    assert "\n" not in said
    assert len(said) < 400
    return None


@pytest.mark.parametrize("name", HOSTILE, ids=lambda name: ascii(name[:20]))
def test_a_name_that_is_more_than_a_name_is_refused(name):
    assert taken(check_model_name, name) is None
    assert not is_model_name(name)
    assert taken(check_alias, name) is None
    assert taken(check_version, name) is None
    assert version_of_directory(name) is None


@given(st.text() | st.from_regex(r"[\w./\\-]{1,110}"))
@example("a" * 100)
def test_a_model_name_is_one_part_of_a_path_and_of_an_address(name):
    if taken(check_model_name, name) is None:
        assert not is_model_name(name)
        return
    assert is_model_name(name)
    assert PurePosixPath("base", name).parts == ("base", name)
    assert quote(name, safe="") == name
    assert name.isascii()
    assert not name.startswith((".", "-"))


@given(st.from_regex(r"[A-Za-z0-9_.-]{1,110}|(?i:latest)|[vV][0-9]+", fullmatch=True))
def test_an_alias_is_a_plain_word_that_mlflow_does_not_reserve(alias):
    if taken(check_alias, alias) is not None:
        assert quote(alias, safe="") == alias
        assert alias.lower() != "latest"
        assert not alias.lower().removeprefix("v").isdigit()


@given(st.integers(1, LARGEST))
@example(LARGEST)
def test_a_version_is_read_from_its_number_and_from_its_directory(number):
    assert check_version(number) == check_version(str(number)) == number
    assert version_of_directory(str(number)) == number


@given(st.integers(max_value=0) | st.integers(min_value=LARGEST + 1))
@example(10**5000)
def test_a_number_that_no_version_has_is_refused(number):
    text = f"{number:x}" if number >= 10**4000 else str(number)  # Python writes no decimals of that length
    assert taken(check_version, text) is None
    assert version_of_directory(text) is None


@pytest.mark.parametrize("text", ["9" * 5000, "0" * 5000 + "1", "1_000", "+1", "1.0", "1e3", " 1", "True", "None"])
def test_what_python_would_read_as_a_number_but_nobody_writes_so_is_refused(text):
    assert taken(check_version, text) is None
    assert version_of_directory(text) is None


@pytest.mark.parametrize("name", ["007", "01", "0"])
def test_two_directories_are_never_one_version(name):
    assert version_of_directory(name) is None
