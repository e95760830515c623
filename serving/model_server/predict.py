"""From a request's tensors to a version's answer: the checks that TensorFlow Serving makes, then the runtime."""

from collections.abc import Mapping, Sequence

from serving.model_server.errors import failed_precondition, invalid_argument
from serving.model_server.runtimes import Runtime
from serving.wire.meta_graph_pb2 import SignatureDef, TensorInfo
from serving.wire.tensors import Array, dtype_name, dtype_of

DEFAULT_SIGNATURE = "serving_default"


def predict(
    runtime: Runtime, signature_name: str, inputs: Mapping[str, Array], output_filter: Sequence[str] = ()
) -> Mapping[str, Array]:
    """The outputs of a signature, all of them or those filtered; ServingError when inputs or names do not fit it."""
    name = signature_name or DEFAULT_SIGNATURE
    signature = runtime.signatures.get(name)
    if signature is None:
        raise failed_precondition(f'Serving signature key "{name}" not found.')
    _check_names(signature, inputs)
    for index, key in enumerate(sorted(inputs)):
        _check_tensor(index, key, inputs[key], signature.inputs[key])
    return runtime.run(name, inputs, _outputs(signature, output_filter))


def _check_names(signature: SignatureDef, inputs: Mapping[str, Array]) -> None:
    given, known = set(inputs), set(signature.inputs)
    if len(given) != len(known):
        raise invalid_argument(
            f"input size does not match signature: {len(given)}!={len(known)} "
            f"len({_set(given)}) != len({_set(known)}). Sent extra: {_set(given - known)}. "
            f"Missing but required: {_set(known - given)}."
        )
    for key in inputs:
        if key not in known:
            raise invalid_argument(
                f"input tensor alias not found in signature: {key}. Inputs expected to be in the set {_set(known)}."
            )


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
