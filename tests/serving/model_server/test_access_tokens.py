"""The file of access tokens: what it may say, and how tokens come into it and out of it."""

import datetime as dt
import hashlib
import stat

import pytest

from serving.model_server.access_tokens import (
    add_token,
    digest_of,
    new_token,
    parse_tokens,
    read_tokens,
    remove_token,
)
from slipway.errors import InputError, NotFoundError

DIGEST = "sha256:" + hashlib.sha256(b"x").hexdigest()


def seconds(day):
    return dt.datetime.fromisoformat(f"{day}T00:00:00+00:00").timestamp()


def test_a_token_is_shown_once_and_only_its_digest_is_kept(tmp_path):
    file = tmp_path / "tokens"
    token, noted = new_token("website", ["predict", "metrics"], "2027-01-01")
    add_token(file, noted)
    assert token not in file.read_text()
    assert len(token) > 40
    (read,) = read_tokens(file)
    assert read == noted
    assert read.digest == digest_of(token.encode()) == hashlib.sha256(token.encode()).digest()
    assert read.scopes == {"predict", "metrics"}


def test_no_two_tokens_are_alike():
    assert len({new_token("same", ["predict"])[0] for _ in range(100)}) == 100


def test_a_new_file_is_its_owners_alone_and_one_that_is_there_keeps_its_mode(tmp_path):
    file = tmp_path / "tokens"
    add_token(file, new_token("one", ["predict"])[1])
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.chmod(0o640)
    add_token(file, new_token("two", ["admin"])[1])
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert [token.name for token in read_tokens(file)] == ["one", "two"]


def test_what_else_stands_in_the_file_stays(tmp_path):
    file = tmp_path / "tokens"
    file.write_text(f"# our tokens\n\nfirst predict never {DIGEST}  # of the shop")
    add_token(file, new_token("second", ["predict"])[1])
    remove_token(file, "second")
    assert file.read_text() == f"# our tokens\n\nfirst predict never {DIGEST}  # of the shop\n"
    remove_token(file, "first")
    assert file.read_text() == "# our tokens\n\n"
    assert read_tokens(file) == ()


def test_a_name_is_given_once_and_only_what_is_there_is_removed(tmp_path):
    file = tmp_path / "tokens"
    add_token(file, new_token("one", ["predict"])[1])
    with pytest.raises(InputError, match="has a token one; expected a new name"):
        add_token(file, new_token("one", ["predict"])[1])
    with pytest.raises(NotFoundError, match="has no token two; it has one"):
        remove_token(file, "two")


def test_a_token_ends_with_the_day_before_its_expiry_in_utc():
    token = new_token("one", ["predict"], "2027-01-01")[1]
    assert not token.is_expired(seconds("2027-01-01") - 1)
    assert token.is_expired(seconds("2027-01-01"))
    assert not new_token("ever", ["predict"])[1].is_expired(seconds("9999-12-31"))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("website predict never", "has 3 words; expected NAME SCOPES EXPIRES"),
        ("website predict never the-very-secret", "its last word is no digest.*does not belong here"),
        (f"website predict never {DIGEST[:-1]}", "its last word is no digest"),
        (f"web/site predict never {DIGEST}", "a token's name: expected 1 to 64 letters"),
        (f"website root never {DIGEST}", "scopes: expected one or more of predict, metrics, admin"),
        (f"website , never {DIGEST}", "scopes: expected one or more"),
        (f"website predict tomorrow {DIGEST}", "expiry: expected the first day on which it is not valid"),
        (f"good predict never {DIGEST}", "token good is there twice"),
    ],
)
def test_a_mistake_names_the_line_and_shows_nothing_of_it(line, expected):
    data = f"# tokens\ngood predict never {DIGEST}\n{line}\n".encode()
    with pytest.raises(InputError, match=rf"^tokens: line 3: .*{expected}") as refusal:
        parse_tokens(data, "tokens")
    assert "the-very-secret" not in str(refusal.value)
    assert DIGEST[:-1] not in str(refusal.value)


def test_a_file_that_everybody_may_write_is_refused(tmp_path):
    file = tmp_path / "tokens"
    add_token(file, new_token("one", ["predict"])[1])
    file.chmod(0o666)
    with pytest.raises(InputError, match=r"everybody may write it.*chmod 600"):
        read_tokens(file)
    with pytest.raises(InputError, match="everybody may write it"):
        add_token(file, new_token("two", ["predict"])[1])


def test_a_link_leads_to_the_file_that_is_changed(tmp_path):
    file, link = tmp_path / "tokens", tmp_path / "link"
    add_token(file, new_token("one", ["predict"])[1])
    link.symlink_to(file)
    add_token(link, new_token("two", ["predict"])[1])
    assert link.is_symlink()
    assert len(read_tokens(file)) == 2
