"""What a failing runtime means: an image of its own, or the end of the run."""

import pytest

from pipeline.scoring.classifying import Variant
from serving.model_server.errors import invalid_argument
from slipway.errors import InputError, UnavailableError


class Runtime:
    """Refuses one image as the decoder does, and fails at another as an engine without memory does."""

    def run(self, _signature, inputs, _outputs):
        images = list(inputs["image_bytes"])
        if b"bad" in images:
            raise invalid_argument("no image") from InputError("no image")
        if b"too much" in images:
            raise invalid_argument("bad_alloc")
        return {
            "output": [[1.0]] * len(images),
            "class_id": [0] * len(images),
            "label": [b"one"] * len(images),
        }


def variant(name):
    made = Variant.__new__(Variant)
    made.name, made._runtime = name, Runtime()
    return made


def test_an_image_that_cannot_be_decoded_costs_no_other_one_its_answer():
    answered = variant("onnx-fp32").answers([b"good", b"bad", b"good"])
    assert [each.label for each in answered] == ["one", None, "one"]
    assert answered[1].error == "no image"


def test_an_engine_that_fails_ends_the_run_instead_of_making_rows_of_errors():
    with pytest.raises(UnavailableError, match=r"onnx-fp32: bad_alloc; .*finished parts are kept"):
        variant("onnx-fp32").answers([b"good", b"too much"])


def test_what_the_graph_itself_refuses_is_the_images():
    assert variant("tensorflow-fp32").answers([b"too much"])[0].error == "bad_alloc"
