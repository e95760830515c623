"""The whole model card, what the gate adds to it later, and what a description keeps of both."""

import dataclasses
import html
import re

import pytest
from hypothesis import example, given, strategies

from registry.card import LONGEST, VariantFacts, cell, model_card
from registry.full_card import ARTIFACT, card_text, full_card, record_gate, save_card, with_gate
from registry.gate import gate
from registry.policy import Policy
from registry.register import Registration, candidate, register
from slipway.errors import UnavailableError
from tests.registry.conftest import make_evaluation
from tests.registry.test_register import EVALUATION, FACTS

WHOLE = dataclasses.replace(
    FACTS, variants=(VariantFacts("openvino-int8", 0.9876, 118.0, 8.5, 25.6),), pictures=("worst_mistakes.png",)
)


@pytest.fixture
def version(world):
    run_id = world.run()
    model_id = world.logged_model(run_id, {"servable/labels.json": b"[]"})
    facts = dataclasses.replace(WHOLE, run_id=run_id)
    evaluation = dataclasses.replace(EVALUATION, run_id=run_id)
    return register(
        world.registry, Registration(f"models:/{model_id}", "a" * 64, "e" * 64, 0.0, 1000, facts, evaluation)
    )


def report_on(world, version):
    return gate(candidate(world.registry, version), None, Policy()).as_dict()


def test_the_card_has_data_metrics_by_class_calibration_variants_gate_examples_limits_and_calls():
    card = full_card(WHOLE, EVALUATION)
    sections = [line.removeprefix("## ") for line in card.splitlines() if line.startswith("## ")]
    assert sections == [
        *("What it is for", "Data", "Quality", "Classes", "Calibration", "Variants", "Gate"),
        *("Examples and explanations", "Limits", "How to call it"),
    ]
    for part in (
        "digits: 1,797 images, 2 classes",
        "| a | 1.0000 | 0.6667 | 2 |",
        "| b | a | 1 |",
        "is 0.0200",
        "| openvino-int8 | 0.9876 | 118.0 | 8.50 | 25.6 |",
        f"`runs:/{WHOLE.run_id}/worst_mistakes.png`",
        "one of its 2 classes",
        "Licence:",
        "/v1/models/digits:predict",
    ):
        assert part in card


def test_the_card_of_a_network_without_evaluation_variants_or_mistakes_says_so():
    assert "Not evaluated." in full_card(FACTS, None)
    assert "no other was measured" in full_card(FACTS, None)
    assert "It made no mistake" in full_card(FACTS, make_evaluation([0, 1], [0, 1]))


def test_a_label_cannot_add_a_section_or_a_column():
    odd = make_evaluation([0, 1], [0, 1], labels=("a|b", "c\n## Gate\n"))
    card = full_card(FACTS, odd)
    assert card.count("\n## Gate\n") == 1
    assert "| a\\|b |" in card


def shown_cell(row):
    """The text of a row's first cell, as a reader of GitHub's Markdown shows it."""
    inside = re.match(r"\| ((?:[^|\\]|\\.)*) \| rest \|$", row)[1].replace("\\|", "|")
    for part in re.findall(r"\\[!-/:-@\[-`{-~]|&\w+;|[`*_\[<&~]", inside):
        assert len(part) > 1, f"{part} would begin something in {inside!r}"
    return html.unescape(re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", inside))


@given(strategies.text(strategies.characters(exclude_categories=("Cs", "Cc"))))
@example("<unknown>")
@example("\\|<!-- &lt; `a` **b** [c](d) _e_ ~~f~~ \\")
def test_whatever_a_class_is_called_a_cell_shows_its_name(name):
    assert shown_cell(f"| {cell(name)} | rest |") == " ".join(name[:80].split())


def test_the_description_has_variants_limits_and_the_pictures_and_keeps_to_its_length():
    card = model_card(WHOLE, EVALUATION)
    for part in ("openvino-int8 0.9876, 118.0 images", "## Limits", "one of its 2 classes", "`worst_mistakes.png`"):
        assert part in card
    many = dataclasses.replace(
        WHOLE, variants=WHOLE.variants * 20, pictures=tuple(f"{number}/{'long' * 30}.png" for number in range(20))
    )
    labels = tuple(f"class <{number}>" for number in range(200))
    card = model_card(many, make_evaluation(range(200), [0] * 200, labels=labels))
    assert len(card) <= LONGEST
    assert card.count(", and 12 more.") == 2
    assert card.endswith(model_card(FACTS, None)[-200:])
    assert "classes with better recall" in card


def test_a_version_has_its_card_from_the_start_and_the_gates_report_once_it_ran(world, version):
    registry = world.registry
    assert "It has not run yet." in card_text(registry, "digits", 1)
    assert "It has not run yet." in registry.version("digits", 1).description
    report = report_on(world, version)
    for _ in range(2):  # a gate may run again
        record_gate(registry, version, report)
    whole, description = card_text(registry, "digits", 1), registry.version("digits", 1).description
    for text in (whole, description):
        assert text.count("## Gate\n") == 1
        assert "Refused, against no champion." in text
        assert "| accuracy | missing | at least 0.8 | REFUSE |" in text
        assert "## How to call it" in text
    assert "## Limits" in whole
    assert len(description) <= LONGEST


def test_a_report_that_has_no_room_is_a_sentence_and_the_rules_that_refused(world, version):
    report = report_on(world, version)
    card = full_card(FACTS, EVALUATION)
    passing = {**report, "passed": True, "rules": [{**rule, "passed": True} for rule in report["rules"]]}
    brief = with_gate(card, passing, len(card) + 40)
    assert "Passed, against no champion." in brief
    assert "| rule |" not in brief
    assert with_gate(card, passing, 10) == card


def test_a_description_that_a_person_has_written_stays(world, version):
    world.registry.set_description("digits", 1, "Ours, and good.")
    record_gate(world.registry, version, report_on(world, version))
    assert world.registry.version("digits", 1).description == "Ours, and good."
    assert "Refused" in card_text(world.registry, "digits", 1)


def test_the_card_of_another_model_of_the_run_is_not_taken_for_this_ones(world, version):
    save_card(world.registry, dataclasses.replace(WHOLE, name="letters", run_id=version.run_id), None)
    assert card_text(world.registry, "digits", 1) == model_card(
        dataclasses.replace(WHOLE, run_id=version.run_id), EVALUATION
    )
    world.registry.log_artifact_bytes(version.run_id, ARTIFACT, b"# digits\n\nours")
    assert card_text(world.registry, "digits", 1) == "# digits\n\nours"


def test_a_registered_model_without_a_description_gets_one_and_keeps_its_own(world, version):
    assert "ResNet50" in world.mlflow.get_registered_model("digits").description
    world.mlflow.update_registered_model("digits", "Ours.")
    world.registry.describe_model("digits", "another")
    assert world.mlflow.get_registered_model("digits").description == "Ours."


def test_a_store_that_does_not_answer_is_no_version_without_a_card(world, version, monkeypatch):
    def away(_run_id, _path):
        raise UnavailableError("the artifact store does not answer.")

    monkeypatch.setattr(world.registry, "read_artifact", away)
    with pytest.raises(UnavailableError):
        card_text(world.registry, version.name, version.version)
