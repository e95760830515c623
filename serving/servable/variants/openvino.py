"""OpenVINO: float32, bfloat16, and 8 bits by NNCF, quantised after training.

The precision that a model is to be run with is written into it, at `slipway/inference_precision`: left to itself,
OpenVINO takes bfloat16 for a float32 model wherever the processor has it.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.servable.variants.network import write_network
from slipway.openvino_start import start_openvino

PRECISION_AT = ["slipway", "inference_precision"]
ENOUGH_AGREEMENT = 0.998  # with the float32 model, of the first class of the calibration images
_COMPARED = 32  # images a batch


def build_fp32(saved_model: Path, directory: Path, calibration: npt.NDArray[Any]) -> None:  # noqa: ARG001 - as others
    """Write model.xml and model.bin, to be run in float32."""
    _save(_convert(saved_model), directory, "f32")


def build_bf16(saved_model: Path, directory: Path, calibration: npt.NDArray[Any]) -> None:  # noqa: ARG001 - as others
    """Write model.xml and model.bin, to be run in bfloat16; the weights are kept with 16 bits."""
    _save(_convert(saved_model), directory, "bf16", half_weights=True)


def build_int8(saved_model: Path, directory: Path, calibration: npt.NDArray[Any]) -> None:
    """Write model.xml and model.bin with weights and activations of 8 bits, what is not quantised in float32.

    Of two recipes, the first is kept if its answers to the calibration images have the float32 model's first classes,
    else the one whose probabilities are nearer to that model's.
    """
    start_openvino()  # before NNCF, which would start it otherwise
    import nncf

    nncf.set_log_level(40)  # errors alone
    model = _convert(saved_model)
    wanted = _answers(model, calibration)
    best, least = None, float("inf")
    for recipe in _recipes(model):
        images = nncf.Dataset(range(len(calibration)), lambda index: {"input": _pixels(calibration, index, index + 1)})
        quantised = nncf.quantize(model, images, subset_size=len(calibration), **recipe)
        answers = _answers(quantised, calibration)
        distance = float(np.abs(answers - wanted).mean())
        if best is None or distance < least:
            best, least = quantised, distance
        if (answers.argmax(axis=1) == wanted.argmax(axis=1)).mean() >= ENOUGH_AGREEMENT:
            break
    _save(best, directory, "f32")


def _recipes(model: Any) -> Iterator[dict[str, Any]]:
    """Asymmetric activations and layer-by-layer bias correction: slower to build than NNCF's defaults, and nearer.

    The second leaves the dense layers in float32.
    """
    import nncf

    careful = {"preset": nncf.QuantizationPreset.MIXED, "fast_bias_correction": False}
    yield careful
    dense = [node.get_friendly_name() for node in model.get_ordered_ops() if node.get_type_name() == "MatMul"]
    yield {**careful, "ignored_scope": nncf.IgnoredScope(names=dense)}


def _convert(saved_model: Path) -> Any:
    start_openvino()
    from openvino.tools.ovc import convert_model

    with tempfile.TemporaryDirectory(prefix="slipway-network-") as scratch:
        network = Path(scratch) / "network"
        write_network(saved_model, network)
        model = convert_model(network)
    model.inputs[0].get_tensor().set_names({"input"})
    model.outputs[0].get_tensor().set_names({"output"})
    return model


def _save(model: Any, directory: Path, precision: str, *, half_weights: bool = False) -> None:
    openvino = start_openvino()
    model.set_rt_info(precision, PRECISION_AT)
    openvino.save_model(model, directory / "model.xml", compress_to_fp16=half_weights)


def _answers(model: Any, images: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    openvino = start_openvino()
    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    batches = [_pixels(images, start, start + _COMPARED) for start in range(0, len(images), _COMPARED)]
    return np.concatenate([compiled(batch)[0] for batch in batches])


def _pixels(images: npt.NDArray[Any], start: int, end: int) -> npt.NDArray[np.float32]:
    return np.asarray(images[start:end], np.float32)
