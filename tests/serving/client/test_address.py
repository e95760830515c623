"""Addresses as people write them."""

import http.client

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.client.address import parse_address
from slipway.errors import InputError


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("http://localhost:8501", "http://localhost:8501"),
        ("http://localhost:8501/", "http://localhost:8501"),
        ("localhost:8501", "http://localhost:8501"),
        ("127.0.0.1:8501", "http://127.0.0.1:8501"),
        ("https://models.example.com", "https://models.example.com:443"),
        ("https://example.com/team/models/", "https://example.com:443/team/models"),
        ("grpc://localhost:8500", "grpc://localhost:8500"),
        ("grpcs://localhost:8500", "grpcs://localhost:8500"),
        ("http://[::1]:8501", "http://[::1]:8501"),
    ],
)
def test_an_address_is_understood(text, meaning):
    """Schemes, standard ports, a proxy's path and IPv6 are read as URLs have them; host:port is http."""
    assert str(parse_address(text)) == meaning


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("localhost", "no port"),
        ("grpc://localhost", "no port"),
        ("http://:8501", "no host"),
        ("", "no host"),
        ("ftp://localhost:21", "unknown scheme 'ftp'"),
        ("localhost:port", "Port could not be cast"),
        ("localhost:99999", "Port out of range"),
        ("http://[::1:8501", "Invalid IPv6"),
        ("http://localhost:8501/v1/models/pets:predict", "goes on after the port"),
        ("grpc://localhost:8500/pets", "goes on after the port"),
        ("grpcs://localhost", "no port"),
        ("grpcs://localhost:8500/pets", "goes on after the port"),
        ("http://localhost:8501/caf\u00e9", "goes on after the port"),
        ("http://local host:8501", "no host's name"),
        ("http://..:8501", "no host's name"),
        (f"http://{'a' * 64}:8501", "no host's name"),
        ("http://caf\u00e9:8501", "no host's name"),
    ],
)
def test_what_is_no_address_is_refused(text, complaint):
    """The error quotes the address, says what is wrong, and lists the forms that are expected."""
    with pytest.raises(InputError, match=complaint) as refusal:
        parse_address(text)
    assert "; expected http://HOST:PORT" in str(refusal.value)


@given(
    st.text()
    | st.builds(
        "{}{}{}{}".format,
        st.sampled_from(["", "http://", "https://", "grpc://", "file://"]),
        st.from_regex(r"[a-z0-9.:\[\]%@_-]{0,20}", fullmatch=True),
        st.sampled_from(["", ":", ":0", ":80", ":\u0661", ":99999999999999999999"]),
        st.text(max_size=5),
    )
)
def test_whatever_is_given_is_an_address_that_can_be_asked_or_refused_in_words(text):
    try:
        address = parse_address(text)
    except InputError:
        return
    assert parse_address(str(address)) == address
    connection = http.client.HTTPConnection(address.host, address.port)
    connection.putrequest("GET", f"{address.path}/v1/models/x", skip_host=True)
    address.host.encode("idna")


@pytest.mark.parametrize("rest", ["host:port", "[host", "host\u2100:1", "host:1"])
@pytest.mark.parametrize("scheme", ["", "http://", "grpc://", "ftp://"])
def test_no_refusal_repeats_a_password(scheme, rest):
    with pytest.raises(InputError) as refusal:
        parse_address(f"{scheme}me:hidden0secret@{rest}")
    assert "hidden0secret" not in str(refusal.value)


def test_a_password_in_an_address_is_refused_and_not_repeated():
    """Credentials never reach a message."""
    with pytest.raises(InputError, match=r"'example\.com' holds a user or password") as refusal:
        parse_address("https://me:secret@example.com")
    assert "secret" not in str(refusal.value)
