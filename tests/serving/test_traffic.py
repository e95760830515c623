"""How unlabelled traffic is split, as `traffic.json` says it."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.traffic import Traffic, parse_traffic, position_of, traffic_config
from slipway.errors import InputError

shares = st.integers(0, 1000).map(lambda tenths: tenths / 10)
headers = st.sampled_from(["", "x-user", "x-client-id"])
traffics = st.builds(
    lambda canary, shadow, header, address: Traffic(100 - canary, canary, shadow, header, address),
    shares,
    shares,
    headers,
    st.booleans(),
)
names = st.from_regex(r"[a-z][a-z0-9_-]{0,9}", fullmatch=True)


@given(entries=st.dictionaries(names, traffics, min_size=1, max_size=4))
def test_what_is_written_for_several_models_is_what_is_read(entries):
    content = None
    for name, traffic in entries.items():
        content = traffic_config(content, name, traffic)
    assert parse_traffic(content, "traffic.json") == entries


@given(one=traffics, other=traffics)
def test_a_models_entry_is_replaced_or_removed_and_the_others_stay(one, other):
    content = traffic_config(traffic_config(None, "a", one), "b", other)
    assert parse_traffic(traffic_config(content, "a", other), "p") == {"a": other, "b": other}
    content = traffic_config(content, "a", None)
    assert parse_traffic(content, "p") == {"b": other}
    assert traffic_config(content, "b", None) is None


def test_the_file_reads_as_people_write_it():
    text = {
        "models": {
            "a": {"traffic": {"stable": 95, "canary": 5}, "shadow": {"canary": 10}, "key_header": "X-Client-Id"},
            "b": {"shadow": {"canary": 50}},
            "c": {"traffic": {"canary": 100}},
        }
    }
    assert parse_traffic(json.dumps(text).encode(), "p") == {
        "a": Traffic(95, 5, 10, "x-client-id"),
        "b": Traffic(100, 0, 50),
        "c": Traffic(0, 100),
    }
    assert parse_traffic(b"{}", "p") == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[1]", r"place is \[1\]; expected an object of models"),
        ("{", "place: not JSON"),
        ("\xff", "place: not JSON"),
        ('{"model": {}}', "expected an object of models"),
        ('{"models": []}', r"place: models is \[\]"),
        ('{"models": {"m": {"trafic": {}}}}', "place: models.m is .* expected an object of traffic, shadow"),
        ('{"models": {"m": {"traffic": {"stable": 90, "beta": 10}}}}', "expected an object of stable, canary"),
        ('{"models": {"m": {"traffic": {"stable": 90, "canary": 5}}}}', "models.m: .*stable is 90 .* sum of 100"),
        ('{"models": {"m": {"traffic": {"stable": 110, "canary": -10}}}}', "stable is 110; expected a share of 0 to"),
        ('{"models": {"m": {"traffic": {"stable": "95", "canary": 5}}}}', "traffic.stable is '95'; expected a share"),
        ('{"models": {"m": {"traffic": {"stable": NaN, "canary": NaN}}}}', "expected a share of 0 to 100"),
        (f'{{"models": {{"m": {{"shadow": {{"canary": {10**400}}}}}}}}}', "m.shadow.canary is 1000.*expected a share"),
        ('{"models": {"m": {"shadow": {"canary": 101}}}}', "models.m: shadow is 101"),
        ('{"models": {"m": {"key_header": 5}}}', "key_header is 5"),
        ('{"models": {"m": {"key_header": "x user"}}}', "expected the name of a header"),
        ('{"models": {"m": {"key_address": 1}}}', "key_address 1"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_its_place(text, said):
    with pytest.raises(InputError, match=said):
        parse_traffic(text.encode("latin-1"), "place")


@given(
    st.binary(max_size=60)
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=9) | st.integers(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["models", "m", "traffic", "stable", "canary", "shadow"]), inner, max_size=3
            )
        ),
        max_leaves=9,
    ).map(lambda document: json.dumps(document).encode())
)
def test_any_content_is_read_or_refused_in_words(content):
    with suppress(InputError):
        found = parse_traffic(content, "place")
        assert all(traffic.stable + traffic.canary == pytest.approx(100) for traffic in found.values())


@given(model=st.text(max_size=9), key=st.text(max_size=40), less=shares, more=shares)
def test_a_key_on_the_canary_stays_there_as_the_share_grows(model, key, less, more):
    less, more = sorted((less, more))
    position = position_of(model, key)
    assert 0 <= position < 100
    assert Traffic(100 - more, more).goes_to_canary(position) >= Traffic(100 - less, less).goes_to_canary(position)


@pytest.mark.parametrize("share", [0, 1, 5, 25, 50, 99.5, 100])
def test_keys_are_assigned_by_the_share(share):
    count = 40_000
    traffic = Traffic(100 - share, share)
    taken = sum(traffic.goes_to_canary(position_of("resnet50", f"client-{key}")) for key in range(count))
    assert abs(taken - count * share / 100) <= 4.5 * (count * share / 100 * (1 - share / 100)) ** 0.5


def test_the_same_key_stands_elsewhere_for_another_model():
    both = sum(position_of("a", str(key)) < 10 and position_of("b", str(key)) < 10 for key in range(10_000))
    assert 50 < both < 160
