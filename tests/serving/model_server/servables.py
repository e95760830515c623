"""Published servables with variants, made without TensorFlow: one matrix and a softmax, in ONNX and OpenVINO."""

import io
import json
import shutil

import numpy as np

from serving.servable.golden import GoldenRequests, save_answers, save_golden
from serving.servable.layout import published_path, variant_path
from serving.servable.manifest import Measurement, VariantRecord, seal
from serving.wire.meta_graph_pb2 import SavedModel
from tests.serving.model_server.fakes import signature
from tests.serving.model_server.plain_models import save_onnx

SIZE = (6, 4)
LABELS = ("ant", "bee", "cat")
COUNT = 32
OUTPUTS = {"output": ("float", [-1, 3]), "class_id": ("int64", [-1]), "label": ("string", [-1])}
SIGNATURES = {
    "serving_default": signature({"input": ("float", [-1, *SIZE, 3])}, OUTPUTS),
    "serving_bytes": signature({"image_bytes": ("string", [-1])}, OUTPUTS),
}
WEIGHTS = np.random.default_rng(7).normal(0, 0.02, (SIZE[0] * SIZE[1] * 3, 3)).astype(np.float32)


def answers(pixels, weights=WEIGHTS):
    """The network, in numpy."""
    logits = pixels.reshape(len(pixels), len(weights)).astype(np.float32) @ weights
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def png(pixels):
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def write_network(variant, directory, weights=WEIGHTS):
    directory.mkdir(parents=True)
    {"onnx": _write_onnx, "openvino": _write_openvino}[variant.partition("-")[0]](directory, weights)


def publish_servable(base, number, throughputs, *, spoiled=()):
    """A version with a variant for each key of `throughputs`; those `spoiled` give other answers than were recorded."""
    bundle = base.parent / f"bundle-{number}"
    seal_servable(bundle, throughputs, spoiled=spoiled)
    version = base / str(number)
    for path in bundle.rglob("*"):
        if path.is_file():
            target = version / published_path(path.relative_to(bundle).as_posix())
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    return version


def seal_servable(bundle, throughputs, *, spoiled=(), broken=(), run_id="r", weights=WEIGHTS):
    """The bundle of such a version; returns its manifest's digest. Those `broken` are files that nothing can load."""
    pixels = np.random.default_rng(0).integers(0, 256, (COUNT, *SIZE, 3), np.uint8)
    expected = answers(pixels, weights)
    golden = GoldenRequests(pixels, expected, tuple(png(image) for image in pixels), expected)
    save_golden(golden, bundle / "golden")
    (bundle / "labels.json").write_text(json.dumps(LABELS))
    _write_saved_model(bundle / "saved_model")
    for name in throughputs:
        write_network(name, bundle / variant_path(name), -weights if name in spoiled else weights)
        save_answers(golden, bundle / variant_path(name))
    for file in (file for name in broken for file in (bundle / variant_path(name)).glob("model.*")):
        file.write_bytes(b"no network")
    records = {name: VariantRecord(1e-4, 0.0, _measured(speed)) for name, speed in throughputs.items()}
    return seal(
        bundle,
        run_id=run_id,
        git_commit="c",
        dataset_digest="d",
        image_size=SIZE,
        classes=len(LABELS),
        variants={"tensorflow-fp32": VariantRecord(1e-4, 0.0, _measured(1.0)), **records},
        signatures={},
        max_pixels=1000,
    )


def _measured(throughput):
    numbers = {name: 0.0 for name, kind in Measurement.__annotations__.items() if kind in {float, "float"}}
    counts = {name: 0 for name, kind in Measurement.__annotations__.items() if kind in {int, "int"}}
    return Measurement(**{**numbers, **counts, "processor": "any", "throughput": throughput})


def _write_saved_model(directory):
    """Its signatures alone: nothing here runs it."""
    saved_model = SavedModel()
    graph = saved_model.meta_graphs.add()
    graph.meta_info_def.tags.append("serve")
    for name, message in SIGNATURES.items():
        graph.signature_def[name].CopyFrom(message)
    directory.mkdir()
    (directory / "saved_model.pb").write_bytes(saved_model.SerializeToString())


def _write_onnx(directory, weights):
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["input"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["output"]),
        ],
        "network",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", *SIZE, 3])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(weights, "weights")],
    )
    save_onnx(graph, directory / "model.onnx")


def _write_openvino(directory, weights):
    import openvino as ov
    from openvino import opset13 as ops

    pixels = ops.parameter([-1, *SIZE, 3], ov.Type.f32, name="input")
    flat = ops.reshape(pixels, ops.constant([-1, len(weights)]), special_zero=False)
    output = ops.softmax(ops.matmul(flat, ops.constant(weights), transpose_a=False, transpose_b=False), 1)
    model = ov.Model([ops.result(output)], [pixels], "network")
    model.outputs[0].get_tensor().set_names({"output"})
    ov.save_model(model, directory / "model.xml", compress_to_fp16=False)
