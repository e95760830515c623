"""A frozen backbone's features: what the head learns on them is what it would learn on the images."""

import numpy as np
import pytest

from pipeline.budget import Budget, OutOfTime
from pipeline.data import DataConfig, load_dataset
from pipeline.data.digits import write_digits
from pipeline.epochs import Alone
from pipeline.features import OnFeatures, learns_from_features
from pipeline.train import TrainConfig, computing, fresh_network

CONFIG = TrainConfig(network="tiny", head="avg", image_size=32, epochs=2, freeze_backbone=True, batch_size=32)

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Thirty images of each digit."""
    work = tmp_path_factory.mktemp("digits")
    digits = write_digits(work)
    rows = [f"{file},{label}" for label in range(10) for file in sorted((digits / str(label)).iterdir())[:30]]
    (work / "some.csv").write_text("\n".join(["path,label", *rows]))
    return load_dataset(DataConfig(source=str(work / "some.csv")), work)


def learned(make, dataset, weights):
    """Loss of each of two epochs, and the weights after them."""
    with computing(CONFIG):
        network = fresh_network(CONFIG, dataset)
        network.set_weights(weights)
        learning = make()
        learning.begin(network, 0)
        losses = [learning.epoch(epoch) for epoch in range(CONFIG.epochs)]
        assert int(network.optimizer.iterations) == CONFIG.epochs * -(-len(dataset.train) // CONFIG.batch_size)
        return losses, network.get_weights()


def test_features_give_the_curve_and_the_weights_that_images_give_and_are_found_again(dataset, tmp_path):
    with computing(CONFIG):
        weights = fresh_network(CONFIG, dataset).get_weights()
    said = []
    images = learned(lambda: Alone(CONFIG, dataset), dataset, weights)
    fresh = learned(lambda: OnFeatures(CONFIG, dataset, tmp_path, said.append), dataset, weights)
    again = learned(lambda: OnFeatures(CONFIG, dataset, tmp_path, said.append), dataset, weights)
    for found in (fresh, again):
        for ours, theirs in zip(found[0], images[0], strict=True):
            assert ours == pytest.approx(theirs, abs=1e-4)
        for one, other in zip(found[1], images[1], strict=True):
            np.testing.assert_allclose(one, other, atol=1e-3)
    assert [line.rpartition(" images ")[2] for line in said] == ["computed"] * 2 + ["are there already"] * 2
    assert len(list(tmp_path.iterdir())) == 2


def test_other_weights_have_other_features_and_old_ones_are_forgotten(dataset, tmp_path):
    with computing(CONFIG):
        for seed in range(5):
            network = fresh_network(CONFIG, dataset)
            network.get_layer("backbone").set_weights(
                [np.full_like(each, seed / 10) for each in network.get_layer("backbone").get_weights()]
            )
            OnFeatures(CONFIG, dataset, tmp_path, lambda _: None).begin(network, 0)
    assert len(list(tmp_path.iterdir())) == 6


def test_a_budget_that_is_up_ends_before_the_first_epoch_is_learned(dataset, tmp_path):
    with computing(CONFIG), pytest.raises(OutOfTime, match="--max-minutes"):
        OnFeatures(CONFIG, dataset, tmp_path, lambda _: None, Budget(0.0)).begin(fresh_network(CONFIG, dataset), 0)
    assert not list(tmp_path.iterdir())


def test_images_that_move_have_no_features_to_keep():
    moving = TrainConfig(network="tiny", image_size=32, freeze_backbone=True, shift=0.1)
    assert learns_from_features(CONFIG)
    assert not learns_from_features(moving)
    assert not learns_from_features(TrainConfig(network="tiny", image_size=32))
