"""Ids of answers say which version of which servable gave them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.request_ids import RequestId, new_request_id, parse_request_id
from slipway.errors import InputError

digests = st.from_regex(r"[0-9a-f]{64}", fullmatch=True) | st.just("none")


@given(version=st.integers(0, 2**63 - 1), digest=digests)
def test_an_id_says_its_version_and_servable(version, digest):
    found = parse_request_id(new_request_id(version, digest))
    assert (found.version, found.digest_prefix) == (version, digest[:12])


def test_no_two_ids_are_the_same():
    assert len({new_request_id(1, "none") for _ in range(10_000)}) == 10_000


def test_an_id_is_read_as_it_is_written():
    assert parse_request_id("3-0123456789ab-0011223344556677") == RequestId(3, "0123456789ab", "0011223344556677")


@pytest.mark.parametrize(
    "text", ["", "3", "3-none", "-none-0011223344556677", "3-0123456789AB-0011223344556677", "3-none-00112233445566777"]
)
def test_what_is_no_id_is_refused_with_an_example(text):
    with pytest.raises(InputError, match="expected VERSION-DIGEST-RANDOM, as '3-"):
        parse_request_id(text)


@given(st.text())
def test_any_text_is_an_id_or_refused(text):
    try:
        found = parse_request_id(text)
    except InputError:
        return
    assert text == f"{text.partition('-')[0]}-{found.digest_prefix}-{found.random}"
