import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.kubernetes.names import is_label_value, object_name, version_name
from slipway.errors import InputError
from slipway.names import is_model_name

SERVICE = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
MODELS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}", fullmatch=True)


@given(MODELS, st.integers(1, 2**63 - 1))
def test_every_model_has_a_name_that_a_service_may_have_with_any_version(model, version):
    assert is_model_name(model)
    assert SERVICE.fullmatch(object_name(model))
    assert SERVICE.fullmatch(version_name(model, version))
    assert is_label_value(object_name(model))


@given(st.lists(MODELS, min_size=2, max_size=20, unique=True))
def test_no_two_models_have_one_name(models):
    assert len({object_name(model) for model in models}) == len(models)


def test_a_name_that_kubernetes_takes_stays_as_it_is():
    assert object_name("resnet50") == "resnet50"
    assert version_name("pets-of-all", 12) == "pets-of-all-v12"


@pytest.mark.parametrize(
    ("model", "begins"),
    [
        ("Pets", "pets-"),
        ("my_pets", "my-pets-"),
        ("9lives", "lives-"),
        ("42", "model-"),
        ("a-", "a-"),
        ("x" * 100, "xx"),
    ],
)
def test_a_name_that_kubernetes_does_not_take_gets_digits_of_its_own(model, begins):
    assert object_name(model).startswith(begins)
    assert re.search(r"-[0-9a-f]{8}$", object_name(model))


def test_names_that_differ_in_what_kubernetes_does_not_know_differ():
    assert len({object_name(model) for model in ("my-pets", "my_pets", "My-Pets", "my-pets-")}) == 4


def test_a_model_is_not_taken_for_a_version_of_another():
    assert object_name("pets-v3") != version_name("pets", 3)


def test_what_is_no_models_name_is_refused():
    with pytest.raises(InputError, match="model name"):
        object_name("../x")
