"""From a request's tensors to a version's answer: the checks that TensorFlow Serving makes, then the runtime."""

import time
from collections.abc import Mapping, Sequence

from serving.model_server.errors import RefusedError, ServingError, failed_precondition, invalid_argument
from serving.model_server.request import Run, current_request
from serving.model_server.runtimes import Runtime
from serving.wire.meta_graph_pb2 import SignatureDef, TensorInfo
from serving.wire.status_pb2 import Code
from serving.wire.tensors import Array, dtype_name, dtype_of, to_numpy

DEFAULT_SIGNATURE = "serving_default"
_METHODS = ("tensorflow/serving/predict", "tensorflow/serving/classify", "tensorflow/serving/regress")


def predict(
    runtime: Runtime,
    signature_name: str,
    inputs: Mapping[str, Array],
    output_filter: Sequence[str] = (),
    *,
    check_method: bool = False,
) -> Mapping[str, Array]:
    """The outputs of a signature, all of them or those filtered; ServingError when inputs or names do not fit it.

    `check_method`: whether the signature's method name must be one of TensorFlow Serving's.
    """
    name = signature_name or DEFAULT_SIGNATURE
    signature = runtime.signatures.get(name)
    if signature is None:
        raise failed_precondition(f'Serving signature key "{name}" not found.')
    if check_method and signature.method_name not in _METHODS:
        raise ServingError(
            Code.INTERNAL,
            f"Expected prediction signature method_name to be one of {{{', '.join(_METHODS)}}}. "
            f"Was: {signature.method_name}",
        )
    complete = _with_defaults(signature, inputs)
    return run_signature(runtime, name, complete, _outputs(signature, output_filter))


def run_signature(
    runtime: Runtime, name: str, inputs: Mapping[str, Array], outputs: Sequence[str]
) -> Mapping[str, Array]:
    """Run a signature that the runtime has on all of its inputs; ServingError when a type or a shape does not fit."""
    signature = runtime.signatures[name]
    for index, key in enumerate(sorted(inputs)):
        _check_tensor(index, key, inputs[key], signature.inputs[key])
    request = current_request()
    if request is None:
        return runtime.run(name, inputs, outputs)
    started = time.perf_counter()
    try:
        found = runtime.run(name, inputs, outputs)
    except RefusedError:
        request.refused(name)
        raise
    except BaseException:
        request.failed(name, time.perf_counter() - started)
        raise
    request.ran(Run(name, inputs, outputs, found), time.perf_counter() - started)
    return found


def _with_defaults(signature: SignatureDef, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
    """The inputs, and the signature's own values for those left out; ServingError if one is missing or unknown."""
    given, known = set(inputs), set(signature.inputs)
    if given == known:
        return inputs
    if len(given) > len(known) or (len(given) < len(known) and not signature.defaults):
        raise invalid_argument(
            f"input size does not match signature: {len(given)}!={len(known)} "
            f"len({_set(given)}) != len({_set(known)}). Sent extra: {_set(given - known)}. "
            f"Missing but required: {_set(known - given)}."
        )
    for key in sorted(known - given):
        if key not in signature.defaults:
            raise invalid_argument(
                f"Signature input alias: {key}(feed name: {signature.inputs[key].name}) not found in request and no "
                f"default value provided. Inputs expected to be in the request {_set(given)}, or default input alias "
                f"set: {','.join(sorted(signature.defaults))}"
            )
    if given - known:
        raise invalid_argument(
            f"Inputs contains invalid name. Used request inputs: {','.join(sorted(given & known))}, "
            f"request input: {','.join(sorted(given))}"
        )
    return {**inputs, **{key: to_numpy(signature.defaults[key]) for key in known - given}}


def _check_tensor(index: int, key: str, array: Array, info: TensorInfo) -> None:
    dtype = dtype_of(array.dtype)
    if dtype != info.dtype:
        raise invalid_argument(
            f"Expects arg[{index}] to be {dtype_name(info.dtype)} but {dtype_name(dtype)} is provided (input {key!r})"
        )
    if not fits(array.shape, info):
        expected = ",".join("?" if dim.size < 0 else str(dim.size) for dim in info.tensor_shape.dim)
        raise invalid_argument(
            f"Input {key!r} has shape [{','.join(map(str, array.shape))}], which is not of expected shape: [{expected}]"
        )


def fits(shape: Sequence[int], info: TensorInfo) -> bool:
    """Whether a tensor of that shape may be fed; trailing sizes of 1 may be left out, as in TensorFlow Serving."""
    if info.tensor_shape.unknown_rank:
        return True
    expected = [dim.size for dim in info.tensor_shape.dim]
    missing = len(expected) - len(shape)
    return (
        missing >= 0
        and all(size in {1, -1} for size in expected[len(shape) :])
        and all(want in {-1, size} for want, size in zip(expected, shape, strict=False))
    )


def _outputs(signature: SignatureDef, output_filter: Sequence[str]) -> list[str]:
    for position, key in enumerate(output_filter):
        if key not in signature.outputs:
            raise invalid_argument(
                f"output tensor alias not found in signature: {key} Outputs expected to be in the set "
                f"{_set(set(signature.outputs))}."
            )
        if key in output_filter[:position]:
            raise invalid_argument(f"duplicate output tensor alias: {key}")
    return list(output_filter) or sorted(signature.outputs)


def _set(names: set[str]) -> str:
    return f"{{{','.join(sorted(names))}}}"
