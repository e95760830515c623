"""The second half of a model's life, once, from quiet traffic to a retraining that helps and one that is refused."""

import numpy as np
import pytest

from tests.monitoring.prometheus import prometheus
from tests.pipeline.lifecycle_world import json_of, wait_until
from tests.story.digits_world import NAME, WINDOW, DigitsWorld, disturbed

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200)]


def poisoned(pictures, draw):
    """The same images, the labels of half of them dealt out anew among these."""
    chosen = draw.permutation(len(pictures))[: len(pictures) // 2]
    labels = [digit for _, digit in pictures]
    for place, dealt in zip(chosen, draw.permutation(chosen), strict=True):
        labels[place] = pictures[dealt][1]
    return [(image, digit) for (image, _), digit in zip(pictures, labels, strict=True)]


def test_quiet_traffic_is_let_be_drift_is_found_and_told_a_retraining_helps_and_a_poisoned_one_is_refused(tmp_path):
    world = DigitsWorld(tmp_path)
    world.configured()
    pictures = world.pictures
    world.slipway("main", "--epochs", 3)
    with world.serving(), prometheus(tmp_path, {"reconciler": world.metrics}) as alerting:
        firing = f'ALERTS{{alertname="SlipwayDrift", alertstate="firing", model="{NAME}"}}'

        world.ask_all(pictures["quiet"])
        told = world.slipway("drift").out
        assert told.startswith(f"{NAME} version 1: no drift in 3 windows of {WINDOW} records")
        told = world.slipway("retrain").out
        assert told.startswith(f"{NAME}: not retrained (nothing to learn: ")
        assert "no drift" in told
        assert alerting.query(firing) == []

        new = [(disturbed(image), digit) for image, digit in pictures["new"]]
        before = world.accuracy(new)
        world.ask_all((new * 2)[: 3 * WINDOW])
        told = world.slipway("drift").out
        assert told.startswith(f"{NAME} version 1: drift found in 3 windows of {WINDOW} records")
        wait_until(lambda: alerting.query(firing), (tmp_path / "reconcile.log").read_text, 60)

        more = {split: [*known, *((disturbed(image), digit) for image, digit in known)]
                for split, known in pictures.items() if split in {"train", "validation", "test"}}  # fmt: skip
        second = world.data_set("second", more)
        told = world.slipway("retrain", "--data", second, "--to", "canary").out
        assert told.startswith(f"{NAME}: started version 2 as the canary (")
        with world.people(new) as answered:
            told = world.slipway("rollout", "--watch").out
            assert "promote" in told
            wait_until(lambda: set(answered[-50:]) == {2}, lambda: str(answered[-50:]), 60)
        assert set(answered) == {1, 2}
        live = world.live(NAME)
        assert {live[place] for place in ("alias", "ledger", "models.config", "labels.config")} == {2}
        after = world.accuracy(new)
        print(f"\naccuracy on the new traffic: {before:.3f} before, {after:.3f} after: +{after - before:.3f}")  # noqa: T201
        assert after >= before + 0.1

        # The test images keep their true labels: else no candidate could be right, and the least accuracy alone refuse.
        draw = np.random.default_rng(3)
        bad = {split: known if split == "test" else poisoned(known, draw) for split, known in more.items()}
        outcome = json_of(world.slipway("retrain", "--data", world.data_set("third", bad), "--json", code=3))
        assert outcome["summary"].startswith(f"{NAME}: refused version 3, what is live stays (")
        refusing = {rule["rule"] for rule in outcome["gate"]["rules"] if not rule["passed"]}
        print("refused by", ", ".join(sorted(refusing)))  # noqa: T201
        assert {"accuracy change", "regression set"} <= refusing
        assert world.live(NAME)["alias"] == 2
        assert world.live_version() == 2
        assert world.accuracy(new) == after
