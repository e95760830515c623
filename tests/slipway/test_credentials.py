"""What is printed of an address never holds its password, whatever characters that has."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.credentials import has_credentials, without_credentials

WORDS = st.text(st.characters(exclude_categories=["Z", "C"]), min_size=1, max_size=20)


@given(user=WORDS, password=WORDS, before=st.text(max_size=20))
def test_neither_user_nor_password_is_left_of_an_address(user, password, before):
    login = f"U{user}:P{password}"
    address = f"postgresql+psycopg://{login}@db.example:5432/slipway"
    assert has_credentials(address)
    shown = without_credentials(f"{before} 'ledger' {address}: no connection")
    assert login not in shown
    assert shown.endswith("'ledger' postgresql+psycopg://db.example:5432/slipway: no connection")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://u:p'q@x:5000/a", "http://x:5000/a"),
        ('Could not connect to "http://u:p@127.0.0.1:9/b"', 'Could not connect to "http://127.0.0.1:9/b"'),
        ("postgresql://h/db?user=u&password=p'q&sslmode=on", "postgresql://h/db?user=u&password=&sslmode=on"),
        ("https://b.s3/k?X-Amz-Credential=A&X-Amz-Signature=1f", "https://b.s3/k?X-Amz-Credential=&X-Amz-Signature="),
        ("two\nlines", "two lines"),
        ("ask ada@example.org", "ask ada@example.org"),
        ("sqlite:////data/mlflow.db", "sqlite:////data/mlflow.db"),
    ],
)
def test_the_rest_of_a_message_stays(text, shown):
    assert without_credentials(text) == shown


@pytest.mark.parametrize("address", ["http://host:5000", "s3://bucket/models", "file:///data", "ada@example.org", ""])
def test_an_address_without_credentials_is_known_as_such(address):
    assert not has_credentials(address)
