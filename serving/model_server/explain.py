"""`:explain`, in the form of KServe's V1 protocol: where in each image a version saw what it says it saw."""

from importlib.util import find_spec

from serving.model_server.errors import ServingError, invalid_argument
from serving.model_server.json_request import JsonRequest, request_inputs
from serving.model_server.json_response import prediction_json
from serving.model_server.predict import predict
from serving.model_server.runtimes import Runtime, runtime_of
from serving.wire.status_pb2 import Code

METHOD = "explain"
SIGNATURE = "serving_explain"
_OUTPUTS = ("heat_map", "output", "class_id", "label")
_TENSORFLOW = "tensorflow"
_INSTALL = "pip install 'slipway[serving,tensorflow]'"


def explain(runtime: Runtime, variant: str, request: JsonRequest, *, check_method: bool = False) -> bytes:
    """The JSON answer to a parsed request of `instances`; `variant` is what answers, as `Variant` names it.

    ServingError: UNIMPLEMENTED if what answers has no explanations, and INVALID_ARGUMENT as for a prediction.
    """
    if request.signature_name not in {"", SIGNATURE}:
        raise invalid_argument(
            f'Explanations are by the signature "{SIGNATURE}"; leave signature_name out, or call :predict.'
        )
    signature = runtime.signatures.get(SIGNATURE)
    if signature is None:
        raise ServingError(Code.UNIMPLEMENTED, _reason(variant))
    if not request.row_format:
        raise invalid_argument("Missing 'instances' key")
    inputs = request_inputs(request, signature.inputs)
    outputs = predict(runtime, SIGNATURE, inputs, _OUTPUTS, check_method=check_method)
    return prediction_json(outputs, row_format=True, rows_key="explanations")


def _reason(variant: str) -> str:
    if find_spec(_TENSORFLOW) is None:
        return (
            "Explanations need the TensorFlow runtime, which is not installed where this server runs. "
            f"Run: {_INSTALL}, and start the server with --runtime=tensorflow."
        )
    if runtime_of(variant) != _TENSORFLOW and variant != _TENSORFLOW:
        return (
            f"Explanations need the TensorFlow runtime ({_INSTALL}), and {variant} answers here. "
            "Start the server with --runtime=tensorflow."
        )
    return (
        f"The version has no signature {SIGNATURE}: it was built before there were explanations, or its network has "
        "no feature map. Register a new version of it: slipway register."
    )
