"""Model config files as the real TensorFlow Serving, and a server with version labels, read them."""

import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st
from tensorflow_serving.config.model_server_config_pb2 import ModelConfig, ModelServerConfig

from serving.model_config import (
    LABELS_CONFIG,
    MODELS_CONFIG,
    Wanted,
    labels_config,
    listed,
    models_config,
    rebased,
)
from slipway.errors import InputError

versions = st.integers(1, 2**63 - 1)


def entries(content: bytes) -> dict[str, ModelConfig]:
    """What TensorFlow Serving's own definition of the file makes of it."""
    config = text_format.Parse(content.decode(), ModelServerConfig()).model_config_list.config
    assert len({entry.name for entry in config}) == len(config)
    return {entry.name: entry for entry in config}


@given(champion=versions)
def test_models_config_lists_the_champion_alone_and_no_label(champion):
    entry = entries(models_config(None, "digits", "/models/digits", Wanted(champion)))["digits"]
    assert entry.base_path == "/models/digits"
    assert entry.model_platform == "tensorflow"
    assert list(entry.model_version_policy.specific.versions) == [champion]
    assert not entry.version_labels


@given(champion=versions, previous=versions)
def test_labels_config_loads_champion_and_previous_and_labels_the_champion_stable(champion, previous):
    entry = entries(labels_config(None, "digits", "/models/digits", Wanted(champion, previous)))["digits"]
    assert set(entry.model_version_policy.specific.versions) == {champion, previous}
    assert len(entry.model_version_policy.specific.versions) == len({champion, previous})
    assert dict(entry.version_labels) == {"stable": champion}


def test_labels_config_without_a_previous_champion_loads_one_version():
    entry = entries(labels_config(None, "digits", "/models/digits", Wanted(4)))["digits"]
    assert list(entry.model_version_policy.specific.versions) == [4]


def test_a_rollback_replaces_the_entry_and_keeps_its_place_and_its_logging():
    present = b"""
    model_config_list {
      config { name: "digits" base_path: "/old" logging_config { sampling_config { sampling_rate: 0.5 } }
               model_version_policy { all {} } version_labels { key: "stable" value: 9 } }
      config { name: "other" base_path: "/models/other" }
    }"""
    content = models_config(present, "digits", "/models/digits", Wanted(3))
    assert list(entries(content)) == ["digits", "other"]
    entry = entries(content)["digits"]
    assert list(entry.model_version_policy.specific.versions) == [3]
    assert entry.base_path == "/models/digits"
    assert not entry.version_labels
    assert entry.logging_config.sampling_config.sampling_rate == 0.5


def test_other_models_are_kept_with_everything_that_they_say():
    other = """model_config_list { config {
        name: "other" base_path: "s3://bucket/other" model_type: TENSORFLOW model_platform: "tensorflow"
        model_version_policy { latest { num_versions: 2 } }
        version_labels { key: "canary" value: 7 } version_labels { key: "stable" value: 6 }
        logging_config { log_collector_config { type: "file" filename_prefix: "/log/x" }
                         sampling_config { sampling_rate: 1 } }
    } }"""
    for content in (
        models_config(other.encode(), "digits", "/models/digits", Wanted(1)),
        labels_config(other.encode(), "digits", "/models/digits", Wanted(2, 1)),
    ):
        assert entries(content)["other"] == entries(other.encode())["other"]
        assert list(entries(content)) == ["other", "digits"]


def test_writing_the_same_again_changes_nothing():
    once = labels_config(
        b'model_config_list { config { name: "a" base_path: "/a" } }', "digits", "/models/digits", Wanted(2, 1)
    )
    assert labels_config(once, "digits", "/models/digits", Wanted(2, 1)) == once


@pytest.mark.parametrize(
    ("present", "place"),
    [
        (b"model_config_list {\n  config {\n    nam: 'x'\n  }\n}", "line 3"),
        (b"model_config_list {\n  config { name: 'x'\n", "line 2"),
        (b"{", "line 1"),
        (b"\n\xff", "line 2"),
        (b"model_config_list { config { model_version_policy { specific { versions: 'one' } } } }", "line 1"),
        (b"custom_model_config { type_url: 'x' }", "custom_model_config"),
        (b"model_config_list { config { name: 'digits' } config { name: 'digits' } }", "2 times"),
    ],
)
def test_a_malformed_file_is_refused_with_its_name_and_line(present, place):
    for file, make in (
        ("models.config", lambda: models_config(present, "digits", "/models/digits", Wanted(1))),
        ("labels.config", lambda: labels_config(present, "digits", "/models/digits", Wanted(1))),
    ):
        with pytest.raises(InputError) as caught:
            make()
        assert str(caught.value).startswith(f"{file}: ")
        assert place in str(caught.value)
        assert "\n" not in str(caught.value)


@given(present=st.binary() | st.text().map(str.encode) | st.text("model_cfigstr{}:<> \n\"'#1").map(str.encode))
def test_whatever_is_there_gives_a_config_or_an_input_error(present):
    try:
        content = models_config(present, "digits", "/models/digits", Wanted(1))
    except InputError:
        return
    assert "digits" in entries(content)


def test_a_name_or_version_that_is_none_is_refused():
    for make in (
        lambda: models_config(None, "../x", "/models/x", Wanted(1)),
        lambda: labels_config(None, "digits", "/models/digits", Wanted(0)),
        lambda: labels_config(None, "digits", "/models/digits", Wanted(1, -1)),
    ):
        with pytest.raises(InputError):
            make()


wanted = st.builds(Wanted, *[st.none() | st.integers(1, 5)] * 4, canary=st.booleans())


@given(before=wanted, after=wanted)
def test_what_is_written_is_what_is_read_whatever_was_there_before(before, after):
    for file, make in ((LABELS_CONFIG, labels_config), (MODELS_CONFIG, models_config)):
        content = make(make(None, "digits", "/models/digits", before), "digits", "/models/digits", after)
        fresh = make(None, "digits", "/models/digits", after)
        assert listed(content, file, "digits") == listed(fresh, file, "digits")


@given(wanted=wanted.filter(lambda each: each.champion is not None))
def test_unlabelled_requests_can_reach_the_champion_alone(wanted):
    """The real server has no other version under the name; with labels, `stable` is the champion's."""
    models = entries(models_config(None, "digits", "/models/digits", wanted))
    assert list(models["digits"].model_version_policy.specific.versions) == [wanted.champion]
    labels = entries(labels_config(None, "digits", "/models/digits", wanted))
    assert list(labels) == ["digits"]
    assert labels["digits"].version_labels["stable"] == wanted.champion
    listed_versions = set(labels["digits"].model_version_policy.specific.versions)
    assert set(labels["digits"].version_labels.values()) <= listed_versions
    assert listed_versions == {wanted.champion, wanted.previous, wanted.candidate, wanted.challenger} - {None}


def test_candidates_are_a_model_of_their_own_for_a_server_without_labels():
    content = models_config(None, "digits", "/models/digits", Wanted(3, 2, candidate=5, challenger=4))
    found = entries(content)
    assert list(found["digits-canary"].model_version_policy.specific.versions) == [4, 5]
    assert found["digits-canary"].base_path == "/models/digits"
    assert not found["digits-canary"].version_labels


@given(candidate=versions)
def test_before_the_first_champion_no_version_can_be_reached_by_the_name_alone(candidate):
    for make in (labels_config, models_config):
        found = entries(make(None, "digits", "/models/digits", Wanted(candidate=candidate)))
        assert list(found) == ["digits-canary"]


def test_a_challenger_bears_its_label_only_once_it_has_answered():
    for canary, labels in ((False, {"stable": 3}), (True, {"stable": 3, "canary": 4})):
        content = labels_config(None, "digits", "/models/digits", Wanted(3, challenger=4, canary=canary))
        assert dict(entries(content)["digits"].version_labels) == labels


def test_a_model_that_is_to_be_served_no_more_is_taken_out_and_others_stay():
    other = b'model_config_list { config { name: "other" base_path: "/models/other" } }'
    for make in (labels_config, models_config):
        content = make(other, "digits", "/models/digits", Wanted(3, 2, challenger=4, canary=True))
        assert list(entries(make(content, "digits", "/models/digits", Wanted()))) == ["other"]
        assert make(None, "digits", "/models/digits", Wanted()) is None


def test_a_model_whose_own_name_ends_in_canary_is_not_taken_for_candidates():
    present = b'model_config_list { config { name: "digits-canary" base_path: "/models/digits-canary" } }'
    content = models_config(present, "digits", "/models/digits", Wanted(1))
    assert list(entries(content)) == ["digits-canary", "digits"]
    with pytest.raises(InputError, match="'digits-canary' is listed for /models/digits-canary"):
        models_config(present, "digits", "/models/digits", Wanted(1, candidate=2))


@pytest.mark.parametrize("inside", ["../x", "..", "digits/../../x", "a/b", "digits/", ".x", "x y", ""])
def test_a_base_path_that_is_no_model_s_is_not_carried_to_another_machine(inside):
    content = labels_config(None, "digits", f"s3://bucket/models/{inside}", Wanted(1))
    with pytest.raises(InputError, match=r"labels\.config: model 'digits' has base_path .* directly below s3://bucket"):
        rebased(content, LABELS_CONFIG, "s3://bucket/models", "/srv/models")


def test_a_model_s_base_path_is_carried_to_another_machine():
    content = labels_config(None, "digits", "s3://bucket/models/digits", Wanted(1))
    moved = rebased(content, LABELS_CONFIG, "s3://bucket/models", "/srv/models")
    assert entries(moved)["digits"].base_path == "/srv/models/digits"
