"""Tensors to the JSON of a REST answer, and the JSON of errors, status and metadata."""

import base64
import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import orjson
from google.protobuf import json_format

from serving.model_server.errors import ServingError, invalid_argument
from serving.model_server.lifecycle import ServedModel
from serving.model_server.version import State, Version
from serving.wire.get_model_metadata_pb2 import SignatureDefMap
from serving.wire.get_model_status_pb2 import GetModelStatusResponse
from serving.wire.meta_graph_pb2 import SignatureDef
from serving.wire.model_pb2 import ModelSpec
from serving.wire.tensors import Array, dtype_name, dtype_of


def prediction_json(outputs: Mapping[str, Array], *, row_format: bool, rows_key: str = "predictions") -> bytes:
    """`predictions`, one for each row, or `outputs` by name; the name is left out where there is one output."""
    finite = all(np.isfinite(array).all() for array in outputs.values() if array.dtype.kind == "f")
    columns = {name: _values(name, array, finite=finite) for name, array in outputs.items()}
    dump = _dump_arrays if finite else _dump
    if not row_format:
        (only, *more) = columns.values()
        return dump({"outputs": columns if more else only})
    sizes = {name: _batch_size(name, array) for name, array in outputs.items()}
    expected = next(iter(sizes.values()))
    for name, size in sizes.items():
        if size != expected:
            raise invalid_argument(f"Tensor name: {name} has inconsistent batch size: {size} expecting: {expected}")
    if len(columns) == 1:
        return dump({rows_key: next(iter(columns.values()))})
    rows = zip(*columns.values(), strict=True)
    return dump({rows_key: [dict(zip(columns, row, strict=True)) for row in rows]})


def error_json(error: ServingError) -> bytes:
    """`{"error": text}`."""
    return _dump({"error": error.message})


def listing_json(models: Iterable[ServedModel]) -> bytes:
    """Slipway's own answer to GET /v1/models: each model with its labels and its versions' states."""
    return _dump({"models": [listed_model(model) for model in models]})


def listed_model(model: ServedModel) -> dict[str, Any]:
    """One model of that answer."""
    versions = [_listed(version) for version in model.versions()]
    return {"name": model.name, "labels": model.labels, "versions": versions}


def _listed(version: Version) -> dict[str, Any]:
    listed = {"version": version.number, "state": State.Name(version.state)}
    if (loaded := version.loaded) is not None:
        listed["variant"] = loaded.variant.name
        listed["passed_over"] = list(loaded.variant.passed_over)
        listed["faults"] = [fault.message for fault in version.faults]
    return listed


def readiness_json(*, ready: bool) -> bytes:
    """Slipway's own answer to GET /healthz and /livez, in the words of gRPC's health service."""
    return _dump({"status": "SERVING" if ready else "NOT_SERVING"})


def status_json(versions: Iterable[Version]) -> bytes:
    """The answer to GET /v1/models/NAME."""
    return _dump(_message(GetModelStatusResponse(model_version_status=[version.status() for version in versions])))


def metadata_json(name: str, version: int, signatures: Mapping[str, SignatureDef]) -> bytes:
    """The answer to GET /v1/models/NAME/metadata."""
    spec = ModelSpec(name=name)
    spec.version.value = version
    return _dump({"model_spec": _message(spec), "metadata": {"signature_def": _message(signature_map(signatures))}})


def signature_map(signatures: Mapping[str, SignatureDef]) -> SignatureDefMap:
    """The message that carries a version's signatures."""
    message = SignatureDefMap()
    for name, signature in signatures.items():
        message.signature_def[name].CopyFrom(signature)
    return message


def _message(message: Any) -> dict[str, Any]:
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


def _batch_size(name: str, array: Array) -> int:
    if not array.ndim:
        raise invalid_argument(f"Tensor name: {name} has no shape information ")
    return len(array)


def _values(name: str, array: Array, *, finite: bool) -> Any:
    """What `_dump_arrays`, or `_dump` where not all numbers are `finite`, can write: an array, or Python's lists."""
    kind = array.dtype.kind
    if kind in "OSU":
        return _strings(array, as_bytes=name.endswith("_bytes"))
    if kind not in "fiub" and array.dtype.name != "bfloat16":
        raise invalid_argument(f"Failed to write JSON value for tensor type: {dtype_name(dtype_of(array.dtype))}")
    if kind in "iub" or array.dtype.itemsize >= 4:
        if finite:
            return np.ascontiguousarray(array) if array.ndim else array[()]
        if kind in "iub" or array.dtype.itemsize == 8:
            return array.tolist()
    shortest = np.array([float(text) for text in map(str, array.flat)], np.float64)
    return shortest.reshape(array.shape).tolist()


def _strings(array: Array, *, as_bytes: bool) -> Any:
    texts = np.empty(array.shape, object)
    for index in np.ndindex(array.shape):
        data: Any = array[index]
        if as_bytes:
            texts[index] = {"b64": base64.b64encode(data).decode()}
        else:
            texts[index] = data.decode(errors="replace") if isinstance(data, bytes) else str(data)
    return texts.tolist()


def _dump_arrays(document: Any) -> bytes:
    """JSON by orjson, which writes an array's numbers at once, a float32 as its shortest decimal: 0.2, as they do."""
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)


def _dump(document: Any) -> bytes:
    """JSON by Python, which writes NaN and Infinity; half of a surrogate pair, which a name may have, as its escape."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode(errors="backslashreplace")
