import dataclasses
import re
import subprocess

import pytest

from registry.card import LONGEST, CardFacts, model_card
from registry.client import NewVersion
from registry.evaluation import ClassResult, save_evaluation
from registry.gate import gate
from registry.policy import Policy
from registry.register import Registration, candidate, register, registered
from tests.registry.conftest import make_evaluation

FACTS = CardFacts(
    name="digits",
    run_id="0" * 32,
    network="ResNet50, 25.7 million parameters",
    data="digits: 1,797 images, 2 classes",
    image_size=(32, 32),
    dataset_digest="d" * 64,
    git_commit="c" * 40,
)
EVALUATION = make_evaluation([0, 0, 1, 1], [0, 0, 1, 0])


@pytest.fixture
def registration(world):
    run_id = world.run()
    model_id = world.logged_model(run_id, {"servable/labels.json": b"[]"})
    evaluation = make_evaluation([0, 0, 1, 1], [0, 0, 1, 1], run_id=run_id)
    save_evaluation(world.registry, evaluation)
    facts = dataclasses.replace(FACTS, run_id=run_id)
    return Registration(f"models:/{model_id}", "a" * 64, "e" * 64, 3.1e-7, 102_000_000, facts, evaluation)


def test_registering_creates_a_version_with_its_tags_and_its_card(world, registration):
    version = register(world.registry, registration)
    assert (version.name, version.version, version.run_id) == ("digits", 1, registration.card.run_id)
    found = world.registry.version("digits", 1)
    assert found.tags == {
        "slipway.manifest_digest": "a" * 64,
        "slipway.model_digest": "e" * 64,
        "slipway.dataset_digest": "d" * 64,
        "slipway.git_commit": "c" * 40,
        "slipway.parity": "3.1e-07",
        "slipway.size_bytes": "102000000",
    }
    assert found.description == model_card(registration.card, registration.evaluation)


def test_registering_a_run_again_returns_the_version_there_is(world, registration):
    assert registered(world.registry, "digits", registration.card.run_id) is None
    first = register(world.registry, registration)
    again = dataclasses.replace(registration, manifest_digest="b" * 64)
    assert register(world.registry, again).version == first.version
    assert registered(world.registry, "digits", registration.card.run_id).version == first.version


def test_a_registered_version_is_read_back_as_the_gates_candidate(world, registration):
    found = candidate(world.registry, register(world.registry, registration))
    assert (found.name, found.version, found.parity, found.size_bytes) == ("digits", 1, 3.1e-7, 102_000_000)
    assert found.evaluation.accuracy == 1.0
    assert gate(found, None, Policy()).passed


def test_a_version_without_numbers_is_a_candidate_that_the_gate_refuses(world):
    found = candidate(world.registry, world.version("digits", tags={"slipway.parity": "nan"}))
    assert (found.evaluation, found.parity, found.size_bytes) == (None, None, None)
    assert not gate(found, None, Policy()).passed


def test_a_version_is_evaluated_on_the_split_that_is_asked_for(world, registration):
    version = register(world.registry, registration)
    assert candidate(world.registry, version, "9" * 64).evaluation is None
    assert candidate(world.registry, version, "5" * 64).evaluation is not None


def test_a_version_that_no_run_made_is_a_candidate_without_evaluation(world):
    directory = world.folder / "foreign"
    directory.mkdir()
    version = world.registry.create_version(NewVersion("foreign", directory.as_uri(), "", {}, ""))
    assert candidate(world.registry, version).evaluation is None


def test_the_card_names_data_metrics_recall_of_each_class_and_how_to_call_it():
    card = model_card(FACTS, EVALUATION)
    for part in (
        "ResNet50, 25.7 million parameters, for pictures of 32 x 32",
        "digits: 1,797 images",
        "| 0.7500 | 1.0000 | 0.9000 |",
        "| a | 1.0000 | 0.6667 | 2 |",
        "/v1/models/digits:predict",
        "models:/digits@champion",
    ):
        assert part in card


def test_the_cards_curl_example_makes_a_request_body_of_the_file(tmp_path):
    (tmp_path / "photo.jpg").write_bytes(bytes(range(256)) * 3)
    shell = re.search(r"```sh\n(.*?)```", model_card(FACTS, None), re.DOTALL)[1]
    printed = shell.split(" |\n  curl")[0]
    body = subprocess.run(["sh", "-c", printed], cwd=tmp_path, capture_output=True, check=True).stdout
    import base64
    import json

    request = json.loads(body)
    assert request["signature_name"] == "serving_bytes"
    assert base64.b64decode(request["instances"][0]["image_bytes"]["b64"]) == bytes(range(256)) * 3


def test_the_cards_python_examples_are_python():
    code = re.search(r"```python\n(.*?)```", model_card(FACTS, None), re.DOTALL)[1]
    compile(code, "card", "exec")


def test_a_card_of_many_classes_shows_the_worst_and_counts_the_rest():
    labels = tuple(f"class {n:04d}" for n in range(1000))
    evaluation = dataclasses.replace(
        EVALUATION,
        labels=labels,
        per_class={label: ClassResult(0.9, n / 1000, 10) for n, label in enumerate(labels)},
    )
    card = model_card(FACTS, evaluation)
    assert len(card) <= LONGEST
    assert "class 0000" in card
    shown = card.count("| class 0")
    assert shown > 20
    assert f"and {1000 - shown} classes with better recall" in card
    assert "How to call it" in card


def test_a_card_without_an_evaluation_says_so():
    assert "Not evaluated." in model_card(FACTS, None)


def test_a_label_cannot_break_the_cards_table():
    odd = make_evaluation([0, 1], [0, 1], labels=("a|b", "c\nd"))
    assert "| a\\|b | 1.0000 | 1.0000 | 1 |\n| c d | 1.0000" in model_card(FACTS, odd)
