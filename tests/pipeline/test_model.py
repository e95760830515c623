"""The network: what it is made of, where its weights come from, and that preprocessing is inside it."""

import numpy as np
import pytest

from pipeline.model import NetworkConfig, build_network
from slipway.errors import InputError


def tiny(**options):
    return NetworkConfig(network="tiny", image_size=32, **options)


def pixels(count=2, size=32):
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3)).astype(np.float32)


def test_the_full_configuration_is_resnet50_flatten_dense_1024_softmax():
    network = build_network(NetworkConfig(), classes=10)
    kinds = [type(layer).__name__ for layer in network.layers][-4:]
    assert kinds == ["Functional", "Flatten", "Dense", "Dense"]
    assert network.input_shape == (None, 224, 224, 3)
    assert network.get_layer("hidden").units == 1024
    assert 126_000_000 < network.count_params() < 127_000_000


def test_resnet50_at_32_pixels_has_more_than_23_million_parameters():
    assert build_network(NetworkConfig(image_size=32), classes=10).count_params() == 25_696_138


def test_the_answer_is_probabilities_that_sum_to_1():
    answer = build_network(tiny(), classes=7)(pixels()).numpy()
    assert answer.shape == (2, 7)
    assert answer.dtype == np.float32
    np.testing.assert_allclose(answer.sum(axis=1), 1, atol=1e-6)


def test_preprocessing_is_keras_own_for_resnet50():
    import keras

    network = build_network(NetworkConfig(image_size=32, head="avg"), classes=3)
    centre = keras.Model(network.input, network.get_layer("centre").output)
    np.testing.assert_allclose(
        centre(pixels()).numpy(), keras.applications.resnet50.preprocess_input(pixels()), rtol=1e-6, atol=1e-4
    )


def test_a_frozen_backbone_leaves_the_head_to_train():
    network = build_network(tiny(freeze_backbone=True), classes=3)
    assert {weight.path.split("/")[0] for weight in network.trainable_variables} == {"hidden", "output"}


def test_batch_normalisation_takes_the_configured_momentum():
    import keras

    network = build_network(tiny(batch_norm_momentum=0.7), classes=3)
    momenta = {
        layer.momentum
        for layer in network.get_layer("backbone").layers
        if isinstance(layer, keras.layers.BatchNormalization)
    }
    assert momenta == {0.7}


def test_the_plain_network_has_no_batch_normalisation():
    network = build_network(NetworkConfig(network="plain", image_size=32), classes=3)
    assert not [weight for weight in network.non_trainable_variables if "moving" in weight.path]
    assert len(network.trainable_variables) == 8


def test_weights_of_a_network_of_ours_start_the_backbone(tmp_path):
    first = build_network(tiny(), classes=3)
    first.save(tmp_path / "model.keras")
    second = build_network(tiny(weights=str(tmp_path / "model.keras")), classes=5)
    for ours, theirs in zip(
        second.get_layer("backbone").get_weights(), first.get_layer("backbone").get_weights(), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_weights_of_keras_own_resnet50_start_the_backbone(tmp_path):
    import keras

    file = tmp_path / "resnet50_notop.weights.h5"
    source = keras.applications.ResNet50(include_top=False, weights=None, input_shape=(32, 32, 3))
    source.save_weights(file)
    network = build_network(NetworkConfig(image_size=32, head="avg", weights=str(file)), classes=3)
    for ours, theirs in zip(network.get_layer("backbone").get_weights(), source.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_weights_that_do_not_fit_are_refused_on_one_line(tmp_path):
    other = tmp_path / "other.keras"
    build_network(NetworkConfig(image_size=32, head="avg"), classes=3).save(other)
    broken = tmp_path / "broken.h5"
    broken.write_bytes(b"no weights")
    for options in (
        {"network": "tiny", "weights": str(other)},
        {"network": "resnet50", "weights": str(broken)},
    ):
        with pytest.raises(InputError) as caught:
            build_network(NetworkConfig(image_size=32, **options), classes=3)
        assert "train.weights=" in str(caught.value)
        assert "\n" not in str(caught.value)
