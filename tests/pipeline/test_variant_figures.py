"""What makes a variant pass: numbers against limits, without any network."""

import csv
import dataclasses
import io
import math
from contextlib import ExitStack

import numpy as np
import pytest

from pipeline.optimize.config import OptimizeConfig
from pipeline.optimize.figures import Answers, Speed, accuracy_drop, measurement, refusal, times_faster
from pipeline.optimize.golden import MOST_REQUESTS, clear_images, tolerance
from pipeline.optimize.measure import Bench, worse_on
from pipeline.optimize.session import SessionError
from pipeline.optimize.table import COLUMNS, Comparison
from serving.servable.manifest import Measurement
from serving.servable.variants import VARIANTS
from slipway.errors import InputError

GOOD = Measurement(
    images=5000,
    accuracy=0.95,
    accuracy_drop=0.001,
    drop_low=-0.002,
    drop_high=0.004,
    agreement=0.98,
    largest_difference=0.1,
    throughput=100.0,
    p50_ms=10.0,
    p95_ms=12.0,
    load_s=0.5,
    memory_bytes=10**8,
    size_bytes=10**7,
    processor="a processor",
)
CONFIG = OptimizeConfig()


def right(*wrong, images=1000):
    answers = np.ones(images, bool)
    answers[list(wrong)] = False
    return answers


def test_the_drop_is_of_the_same_images_and_its_interval_is_agresti_and_mins():
    drop, low, high = accuracy_drop(right(0, 1), right(1, 2, 3, 4))
    assert drop == pytest.approx(0.002)
    # (3 lost + .5, 1 won + .5, 1002): 2/1002 -+ 1.96 * sqrt(((5) - 4/1002) / 1002^2)
    middle, spread = 2 / 1002, 1.959964 * math.sqrt(5 - 4 / 1002) / 1002
    assert (low, high) == (pytest.approx(middle - spread), pytest.approx(middle + spread))


def test_equal_answers_have_a_drop_of_zero_and_an_interval_that_shrinks_with_the_images():
    _, _, few = accuracy_drop(right(images=100), right(images=100))
    drop, low, many = accuracy_drop(right(images=10_000), right(images=10_000))
    assert drop == 0
    assert 0 < many < few < 0.03
    assert low == -many


def test_a_variant_that_is_as_accurate_and_faster_passes():
    assert refusal(GOOD, 1.5, CONFIG) is None


def test_a_drop_over_the_limit_refuses_and_says_interval_and_limit():
    reason = refusal(dataclasses.replace(GOOD, accuracy_drop=0.0051), 1.5, CONFIG)
    assert reason.startswith("its accuracy is 0.0051 below")
    assert "-0.0020 to 0.0040" in reason
    assert refusal(dataclasses.replace(GOOD, accuracy_drop=0.005), 1.5, CONFIG) is None
    assert refusal(dataclasses.replace(GOOD, accuracy_drop=-0.2), 1.5, CONFIG) is None


def test_agreement_is_asked_for_with_fewer_than_two_thousand_images_alone():
    assert "0.9800 of 1999 images" in refusal(dataclasses.replace(GOOD, images=1999), 1.5, CONFIG)
    assert refusal(dataclasses.replace(GOOD, images=2000), 1.5, CONFIG) is None
    assert refusal(dataclasses.replace(GOOD, images=1999, agreement=0.99), 1.5, CONFIG) is None


def test_a_variant_that_is_not_faster_is_refused():
    assert refusal(GOOD, 1.0, CONFIG) == "it has 1.00 times the throughput of tensorflow-fp32; expected more than 1"


@pytest.mark.parametrize("field", [item.name for item in dataclasses.fields(Measurement) if item.type is float])
def test_a_number_that_is_missing_refuses(field):
    assert "missing" in refusal(dataclasses.replace(GOOD, **{field: math.nan}), 1.5, CONFIG)


def test_a_speed_that_is_missing_refuses():
    assert refusal(GOOD, math.nan, CONFIG) is not None
    assert math.isnan(times_faster([], []))


def test_speed_is_compared_round_by_round():
    assert times_faster([20.0, 10.0, 90.0], [10.0, 10.0, 30.0]) == 2.0


def test_a_measurement_counts_every_batch_and_keeps_a_nan():
    answers, network = Answers(), np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], np.float32)
    answers.add(np.array([[0.8, 0.2], [0.3, 0.7]], np.float32), network[:2])
    answers.add(np.array([[0.4, 0.6]], np.float32), network[2:])
    speed = Speed(load_s=1.0, size_bytes=5, latencies_ms=[1.0, 2.0, 9.0], throughputs=[5.0, 7.0, 6.0], memory_bytes=3)
    truth = np.array([0, 1, 0], np.int32)
    found = measurement(answers, speed, truth, network.argmax(axis=1), "cpu")
    assert (found.images, found.accuracy, found.accuracy_drop) == (3, pytest.approx(2 / 3), pytest.approx(1 / 3))
    assert (found.agreement, found.largest_difference) == (pytest.approx(2 / 3), pytest.approx(0.2))
    assert (found.throughput, found.p50_ms) == (6.0, 2.0)
    answers.add(np.array([[math.nan, 0.6]], np.float32), network[2:])
    assert math.isnan(answers.largest_difference)


def test_golden_requests_are_images_that_all_variants_and_the_sure_network_agree_on():
    network = np.tile(np.array([0.9, 0.1], np.float32), (200, 1))
    network[0::2] = [0.49, 0.51]  # not sure
    variant = network.argmax(axis=1)
    variant[1:100] = 1  # disagrees
    chosen = clear_images(network, [variant, network.argmax(axis=1)])
    assert chosen == sorted(set(chosen))
    assert {index % 2 for index in chosen} == {1}
    assert min(chosen) > 100
    assert len(chosen) == 50 < MOST_REQUESTS


def test_golden_requests_are_unsure_ones_where_there_are_no_others():
    network = np.tile(np.array([0.49, 0.51], np.float32), (10, 1))
    assert clear_images(network, [network.argmax(axis=1)]) == list(range(10))


def test_the_tolerance_is_never_below_the_servers_and_grows_with_what_was_seen():
    assert tolerance(0.0, 0.0) == 1e-4
    assert tolerance(0.02, 1e-6) == 0.02
    assert tolerance(1e-6, 0.01) == 0.04
    assert tolerance(0.9, 0.0) == 0.25


def test_a_comparison_shows_every_variant_and_each_reason():
    comparison = Comparison(
        measured={"tensorflow-fp32": GOOD, "onnx-fp32": GOOD, "openvino-int8": GOOD},
        faster={"tensorflow-fp32": 1.0, "onnx-fp32": 2.5, "openvino-int8": 0.5},
        refused={"openvino-int8": "it is slow", "litert-int8": "its converter failed"},
    )
    assert comparison.passed == ("onnx-fp32",)
    rows = list(csv.DictReader(io.StringIO(comparison.csv())))
    assert [(row["variant"], row["verdict"], row["reason"]) for row in rows] == [
        ("tensorflow-fp32", "reference", ""),
        ("onnx-fp32", "passed", ""),
        ("openvino-int8", "refused", "it is slow"),
        ("litert-int8", "refused", "its converter failed"),
    ]
    lines = comparison.markdown().splitlines()
    assert {line.count("|") for line in lines[:6]} == {len(COLUMNS) + 1}
    assert lines[-2:] == ["- openvino-int8 refused: it is slow", "- litert-int8 refused: its converter failed"]


def test_the_picture_shows_what_was_measured():
    comparison = Comparison({"tensorflow-fp32": GOOD, "onnx-fp32": GOOD}, {}, {"onnx-fp32": "x"})
    speed, drop = comparison.picture().axes
    assert [tick.get_text() for tick in speed.get_yticklabels()] == ["tensorflow-fp32", "onnx-fp32"]
    assert speed.get_xlabel() == "images per second"
    assert len(drop.lines) == 2 * 2 + 1


def test_variants_are_named_with_commas_each_once():
    assert OptimizeConfig(variants=" onnx-fp32, openvino-int8,onnx-fp32,").names == ("onnx-fp32", "openvino-int8")
    assert OptimizeConfig().names == ()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"variants": "onnx-fp16"}, "onnx-fp32"),
        ({"variants": "tensorflow-fp32"}, "is in every servable"),
        ({"maximum_accuracy_drop": -0.1}, "--maximum-accuracy-drop"),
        ({"minimum_agreement": 1.1}, "--minimum-agreement"),
        ({"calibration_images": 0}, "--calibration-images"),
        ({"rounds": 0}, "--rounds"),
        ({"round_seconds": 0.0}, "--round-seconds"),
    ],
)
def test_a_configuration_out_of_range_says_what_is_expected(values, said):
    with pytest.raises(InputError, match=said):
        OptimizeConfig(**values)


def test_every_variant_has_a_runtime_and_a_builder():
    from importlib import import_module

    from serving.model_server.runtimes import runtime_of

    for name, builder in VARIANTS.items():
        assert runtime_of(name)
        module, _, attribute = builder.partition(":")
        assert callable(getattr(import_module(module), attribute))


class FakeVariant:
    """Answers the classes that it is made with, a batch at a time."""

    def __init__(self, *batches):
        self.batches = iter(batches)

    def answer(self, pixels):
        assert np.load(pixels).shape == (2, 1, 1, 3)
        answer = next(self.batches)
        if answer is None:
            raise SessionError("its process ended")
        return one_hot(answer)


def one_hot(classes):
    return np.eye(3, dtype=np.float32)[list(classes)]


def test_a_variant_that_loses_more_of_the_regression_set_than_it_wins_is_not_served():
    """The network has all right but the last; the images are of the classes 0, 1, 2, 0."""
    bench = Bench(ExitStack())
    bench.sessions = {
        "same": FakeVariant((0, 1), (2, 1)),
        "one for one": FakeVariant((1, 1), (2, 0)),
        "worse": FakeVariant((0, 2), (2, 1)),
        "dead": FakeVariant((0, 1), None),
    }
    network = iter((one_hot((0, 1)), one_hot((2, 1))))
    truth = np.array([0, 1, 2, 0], np.int32)
    found = worse_on(bench, [np.zeros((2, 1, 1, 3), np.float32)] * 2, lambda _: next(network), truth)
    assert found.keys() == {"worse"}
    assert found["worse"].startswith("of 4 images of the regression set it loses 1 that the trained network has right")
    assert bench.failures == {"dead": "its process ended"}
