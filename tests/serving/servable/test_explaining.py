"""Explanations inside the graph, and whether they explain: the sanity checks of Adebayo et al. (2018) and a plant."""

import numpy as np
import pytest

from tests.serving.servable.planted import LABELS, SIDE, pictures, train

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def tf():
    from slipway.tensorflow_start import start_tensorflow

    return start_tensorflow()


@pytest.fixture(scope="module")
def network(tf):
    return train()


@pytest.fixture(scope="module")
def saved(network, tmp_path_factory):
    """The SavedModel's directory, and what a manifest says of its signatures."""
    from serving.servable.graph import write_saved_model

    directory = tmp_path_factory.mktemp("planted") / "saved_model"
    return directory, write_saved_model(network, LABELS, directory)


@pytest.fixture(scope="module")
def loaded(tf, saved):
    return tf.saved_model.load(str(saved[0]))


def encoded(tf, pixels):
    return tf.constant([tf.io.encode_png(image).numpy() for image in pixels])


def heat_maps(network, pixels):
    from serving.servable.explaining import explain_network

    return explain_network(network)(pixels.astype(np.float32))["heat_map"].numpy()


def share_inside(maps, squares):
    return (maps * squares).sum(axis=(1, 2)) / maps.sum(axis=(1, 2))


def test_the_heat_map_lies_on_the_square_that_alone_decides(network):
    pixels, classes, squares = pictures(64, seed=2)
    assert (network.predict_on_batch(pixels.astype(np.float32)).argmax(axis=1) == classes).mean() > 0.95
    planted = classes > 0
    maps, squares = heat_maps(network, pixels)[planted], squares[planted]
    assert np.median(share_inside(maps, squares)) > 0.5  # a square is a sixteenth of the picture
    found = [square[np.unravel_index(one.argmax(), one.shape)] for one, square in zip(maps, squares, strict=True)]
    assert np.mean(found) > 0.9  # the highest place of the map is in the square


def test_heat_maps_change_when_weights_are_randomised_from_the_last_layer_down(network, tf):
    import keras
    from scipy.stats import spearmanr

    pixels, *_ = pictures(32, seed=3)
    before = heat_maps(network, pixels)

    def likeness(other):
        after = heat_maps(other, pixels)
        found = [spearmanr(one.ravel(), two.ravel()).statistic for one, two in zip(before, after, strict=True)]
        return float(np.mean(np.nan_to_num(found)))  # a map that is 0 everywhere is like no other

    other = keras.models.clone_model(network)
    other.set_weights(network.get_weights())
    assert likeness(other) == pytest.approx(1.0)
    rng = np.random.default_rng(4)
    for layer in reversed([layer for layer in other.layers if layer.weights]):
        layer.set_weights([rng.normal(0, array.std() + 0.05, array.shape) for array in layer.get_weights()])
    assert abs(likeness(other)) < 0.5


def test_the_signatures_of_the_graph_answer_alike_and_the_weights_are_there_once(tf, network, saved, loaded):
    pixels, *_ = pictures(5, seed=5)
    files = encoded(tf, pixels)
    predicted = loaded.signatures["serving_bytes"](image_bytes=files)
    explained = loaded.signatures["serving_explain"](image_bytes=files)
    for name in ("output", "class_id", "label"):
        assert np.array_equal(predicted[name].numpy(), explained[name].numpy()), name
    assert np.array_equal(predicted["output"].numpy(), network(pixels.astype(np.float32), training=False).numpy())
    maps = explained["heat_map"].numpy()
    assert (maps.shape, maps.dtype) == ((5, SIDE, SIDE), np.float32)
    assert maps.min() >= 0
    assert maps.max() == 1
    np.testing.assert_allclose(maps, heat_maps(network, pixels), atol=1e-5)
    by_file = loaded.signatures["serving_embed"](image_bytes=files)["embedding"].numpy()
    by_pixels = loaded.signatures["serving_embed_pixels"](input=tf.constant(pixels.astype(np.float32)))["embedding"]
    assert by_file.shape == (5, 16)
    assert np.array_equal(by_file, by_pixels.numpy())
    dense = network.layers[-1]
    logits = by_file @ dense.kernel.numpy() + dense.bias.numpy()
    assert np.array_equal(logits.argmax(axis=1), predicted["class_id"].numpy())
    weights_bytes = 4 * network.count_params()
    stored = (saved[0] / "variables" / "variables.data-00000-of-00001").stat().st_size
    assert weights_bytes <= stored < 1.5 * weights_bytes + 20_000


def test_the_manifests_words_for_the_signatures_are_what_the_graph_has(saved, loaded):
    _, described = saved
    assert (
        set(described)
        == set(loaded.signatures)
        == {
            "serving_default",
            "serving_bytes",
            "serving_embed",
            "serving_embed_pixels",
            "serving_explain",
        }
    )
    assert described["serving_explain"] == {
        "inputs": {"image_bytes": {"dtype": "string", "shape": [-1]}},
        "outputs": {
            "heat_map": {"dtype": "float32", "shape": [-1, SIDE, SIDE]},
            "output": {"dtype": "float32", "shape": [-1, 3]},
            "class_id": {"dtype": "int64", "shape": [-1]},
            "label": {"dtype": "string", "shape": [-1]},
        },
    }
    assert described["serving_default"]["inputs"] == {"input": {"dtype": "float32", "shape": [-1, SIDE, SIDE, 3]}}
    assert described["serving_embed"]["outputs"] == {"embedding": {"dtype": "float32", "shape": [-1, 16]}}


@pytest.mark.parametrize(("name", "head"), [("plain", "flatten"), ("tiny", "avg")])
def test_both_heads_of_our_networks_are_explained(tf, name, head):
    from pipeline.model import NetworkConfig, build_network

    network = build_network(NetworkConfig(network=name, head=head, image_size=SIDE), 3)
    maps = heat_maps(network, pictures(3, seed=6)[0])
    assert maps.shape == (3, SIDE, SIDE)
    assert np.isfinite(maps).all()
    assert maps.max() <= 1


def test_a_backbone_that_ends_in_few_cells_is_cut_where_it_has_enough_and_no_branch_goes_around(tf):
    import keras

    from serving.servable.network_parts import network_parts

    layers = keras.layers
    pixels = keras.Input((16, 16, 3))
    enough = layers.Conv2D(4, 3, strides=4, padding="same", activation="relu")(pixels)
    branch = layers.Conv2D(6, 1)(layers.Conv2D(5, 3, padding="same", activation="relu")(enough))
    few = layers.Conv2D(6, 3, strides=4, padding="same")(layers.Add()([layers.Conv2D(6, 1)(enough), branch]))
    backbone = keras.Model(pixels, few)
    given = keras.Input((16, 16, 3))
    pooled = layers.GlobalAveragePooling2D()(backbone(layers.Rescaling(1 / 255)(given)))
    network = keras.Model(given, layers.Dense(3, activation="softmax")(pooled))
    parts = network_parts(network)
    images = np.random.default_rng(9).integers(0, 256, (3, 16, 16, 3)).astype(np.float32)
    features = parts.trunk(images)
    assert features.shape == (3, 4, 4, 6)  # of the sum: past it one cell is left, and before it are two ways
    embedding, output = parts.head(features)
    assert embedding.shape == (3, 6)
    np.testing.assert_allclose(output, network(images), atol=1e-6)
    assert heat_maps(network, images).std(axis=(1, 2)).max() > 0


def test_a_network_without_a_feature_map_has_the_two_signatures_that_it_had(tf, tmp_path):
    import keras

    from serving.servable.graph import write_saved_model

    layers = [keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(3, activation="softmax")]
    described = write_saved_model(keras.Sequential(layers), LABELS, tmp_path / "saved_model")
    assert set(described) == {"serving_default", "serving_bytes"}


def test_reference_statistics_are_what_the_served_network_says_of_the_images(tf, network, loaded, tmp_path):
    from serving.servable.held_out import HeldOut, reference_of
    from serving.servable.image_properties import properties

    pixels, classes, _ = pictures(40, seed=7)
    files = [tmp_path / f"{index}.png" for index in range(40)]
    for file, image in zip(files, pixels, strict=True):
        larger = np.kron(image, np.ones((1, 2, 1), np.uint8)) if file.stem == "3" else image
        file.write_bytes(tf.io.encode_png(larger).numpy())
    reference = reference_of(network, HeldOut(files, [int(one) for one in classes], "d" * 64))
    content = tf.constant([file.read_bytes() for file in files])
    embeddings = loaded.signatures["serving_embed"](image_bytes=content)["embedding"].numpy()
    np.testing.assert_allclose(reference.embeddings, embeddings, atol=1e-4)
    predicted = loaded.signatures["serving_bytes"](image_bytes=content)
    np.testing.assert_allclose(reference.probabilities, predicted["output"].numpy(), atol=1e-5)
    assert np.array_equal(reference.class_id, predicted["class_id"].numpy())
    assert np.array_equal(reference.true_class, classes)
    assert (reference.width[3], reference.height[3], reference.width[4]) == (2 * SIDE, SIDE, SIDE)
    assert reference.sharpness[5] == pytest.approx(properties(pixels[5]).sharpness, rel=1e-5)
