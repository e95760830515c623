"""The description of the REST API that the server answers to GET /openapi.json: OpenAPI 3.1, written by hand."""

import json
from typing import Any

_Json = dict[str, Any]

_STATES = ["UNKNOWN", "START", "LOADING", "AVAILABLE", "UNLOADING", "END"]
_TARGETS = {
    "": ("the version that requests without one go to", []),
    "/versions/{version}": ("the version of that number", ["version"]),
    "/labels/{label}": ("the version that bears that label", ["label"]),
}
_ERRORS = {
    "400": "The request is wrong; the text is TensorFlow Serving's.",
    "401": "There is no token, or one that is unknown or has expired (with --access_tokens_file).",
    "403": "The token is not for this (with --access_tokens_file).",
    "404": "No such model or version is available.",
    "413": "The body is larger than --max_body_mb.",
    "429": "Too many requests; come again after the seconds in Retry-After.",
    "500": "The server failed; its log says why.",
    "431": "The headers are too large.",
    "501": "The model's types have no JSON; or what answers has no explanations.",
    "503": "The server is not able to answer now.",
    "504": "No answer within --rest_api_timeout_in_ms.",
}
_METHODS = {  # to the schemas of what is asked, and answered
    "predict": ("Predict", "Prediction"),
    "classify": ("Examples", "Results"),
    "regress": ("Examples", "Results"),
    "explain": ("Explain", "Explanations"),
}
_ANY = ("401", "403", "431")
_BEARER = "bearer"

_IDENTITY = {
    f"x-slipway-{name}": {"description": text, "schema": {"type": "string"}}
    for name, text in {
        "model": "The model that answered.",
        "version": "The version that answered; 0 in an error that no version gave.",
        "variant": "What ran it.",
        "digest": "The sha256 of its servable's manifest, or none.",
        "request-id": "This answer's own id, for feedback and for slipway trace.",
    }.items()
}


def openapi_json() -> bytes:
    """The whole description, as JSON."""
    paths: _Json = {}
    for target, (text, names) in _TARGETS.items():
        path, named = f"/v1/models/{{model}}{target}", ["model", *names]
        for method in _METHODS:
            paths[f"{path}:{method}"] = {"post": _inference(method, text, named)}
        paths[path] = {"get": _description("The states of", "Status", text, named)}
        paths[f"{path}/metadata"] = {"get": _description("The signatures of", "Metadata", text, named)}
    paths["/v1/models/{model}/observations"] = {"get": _observations()}
    paths["/v1/feedback"] = {"post": _feedback()}
    paths["/v1/models"] = {"get": _question("Every model, with labels and versions (Slipway's own)", "Listing")}
    paths["/v1/page"] = {"get": _question("What the page at / shows (Slipway's own)", "Anything")}
    ready = {"200": _answer("Each model has a version AVAILABLE.", "Health"), "503": _answer("Not so.", "Health")}
    summary = "Whether the server is ready (Slipway's own)"
    paths["/healthz"] = {"get": {"security": [], "summary": summary, "responses": ready}}
    alive = {"200": _answer("It answers.", "Health")}
    summary = "Whether the server answers at all, whatever it has loaded (Slipway's own)"
    paths["/livez"] = {"get": {"security": [], "summary": summary, "responses": alive}}
    paths["/openapi.json"] = {"get": _question("This description (Slipway's own)", "Anything")}
    document = {
        "openapi": "3.1.0",
        "info": {"title": "TensorFlow Serving's REST API, as Slipway serves it", "version": "1"},
        "paths": paths,
        "security": [{}, {_BEARER: []}],
        "components": {
            "schemas": _schemas(),
            "parameters": _parameters(),
            "securitySchemes": {_BEARER: {"type": "http", "scheme": "bearer"}},
        },
    }
    return json.dumps(document).encode()


def _inference(method: str, text: str, names: list[str]) -> _Json:
    asked, answered = _METHODS[method]
    return {
        "summary": f"{method.capitalize()} by {text}" + (" (KServe's form)" if method == "explain" else ""),
        "parameters": [_reference("parameters", name) for name in names],
        "requestBody": {"required": True, "content": _content(asked)},
        "responses": {"200": _answer("The answer.", answered) | {"headers": _IDENTITY}} | _errors(*_ERRORS),
    }


def _description(what: str, schema: str, text: str, names: list[str]) -> _Json:
    return {
        "summary": f"{what} {'the model' if schema == 'Status' and len(names) == 1 else text}",
        "parameters": [_reference("parameters", name) for name in names],
        "responses": {"200": _answer("As the server has it.", schema)} | _errors("400", "404", "500", "504"),
    }


def _observations() -> _Json:
    return {
        "summary": "What was observed of each version since it became AVAILABLE (Slipway's own)",
        "parameters": [_reference("parameters", "model")],
        "responses": {"200": _answer("As the server has it.", "Observations")} | _errors("400", "404", "500", "504"),
    }


def _feedback() -> _Json:
    return {
        "summary": "Attach true labels to answered requests (Slipway's own)",
        "requestBody": {"required": True, "content": _content("Feedback")},
        "responses": {"200": _answer("How many were attached.", "Attached")} | _errors("400", "413", "500", "504"),
    }


def _question(summary: str, schema: str) -> _Json:
    return {"summary": summary, "responses": {"200": _answer("As the server has it.", schema)} | _errors()}


def _answer(text: str, schema: str) -> _Json:
    return {"description": text, "content": _content(schema)}


def _errors(*codes: str) -> _Json:
    """Those of these codes, and those that any request may be answered by."""
    return {code: _answer(_ERRORS[code], "Error") for code in sorted({*codes, *_ANY})}


def _content(schema: str) -> _Json:
    return {"application/json": {"schema": _reference("schemas", schema)}}


def _reference(kind: str, name: str) -> _Json:
    return {"$ref": f"#/components/{kind}/{name}"}


def _parameters() -> _Json:
    name = {"type": "string", "pattern": "^[^/:]+$"}
    number = {"type": "integer", "minimum": 0, "maximum": 2**63 - 1}
    schemas = {"model": name, "version": number, "label": name}
    return {key: {"name": key, "in": "path", "required": True, "schema": schema} for key, schema in schemas.items()}


def _schemas() -> _Json:
    text, number, value = {"type": "string"}, {"type": "integer"}, _reference("schemas", "Value")
    bytes_ = _object({"b64": text | {"contentEncoding": "base64"}}, closed=True)
    scalar = {"anyOf": [{"type": ["number", "string", "boolean"]}, bytes_]}
    example = {"type": "object", "additionalProperties": {"anyOf": [scalar, {"type": "array", "items": scalar}]}}
    examples = {"examples": {"type": "array", "items": example, "minItems": 1}}
    state = _object({"version": text, "state": {"enum": _STATES}, "status": _object({"error_code": text})})
    served = _object({"version": number, "state": {"enum": _STATES}})
    labels = {"type": "object", "additionalProperties": number}
    listed = _object({"name": text, "labels": labels, "versions": {"type": "array", "items": served}})
    signatures = _object({"signature_def": {"type": "object", "additionalProperties": {"type": "object"}}})
    spec = _object({"name": text, "version": text, "signature_name": text})
    values, list_ = {"type": "object", "additionalProperties": value}, {"type": "array", "items": value}
    class_ = {"anyOf": [text, number | {"minimum": 0}]}
    id_ = text | {"pattern": r"^[0-9]{1,19}-([0-9a-f]{12}|none)-[0-9a-f]{16}$"}
    one = _object({"request_id": id_, "label": class_})
    several = _object({"request_id": id_, "labels": {"type": "array", "items": class_}})
    counts = ("version", "requests", "errors", "labelled", "correct")
    observed = dict.fromkeys(counts, number) | {"label": text}
    latency = _object({name: {"type": "array", "items": {"type": "number"}} for name in ("bounds", "counts")})
    observed |= {"latency_ms": latency, "confidence": {"type": "object"}, "shadow": {"type": "object"}}
    numbers = {"type": "array", "items": {"type": "number"}}
    explanation = _object(
        {"heat_map": {"type": "array", "items": numbers}, "output": numbers, "class_id": number, "label": text}
    )
    return {
        "Observations": _object(
            {"server": text, "model": text, "versions": {"type": "array", "items": _object(observed)}}
        ),
        "Feedback": {
            "anyOf": [one, several, _object({"feedback": {"type": "array", "items": {"anyOf": [one, several]}}})]
        },
        "Attached": _object({"attached": number, "unknown": {"type": "array", "items": text}}, closed=True),
        "Value": {"anyOf": [scalar, list_]},
        "Predict": {
            "oneOf": [
                _request({"instances": {"type": "array", "items": {"anyOf": [value, values]}, "minItems": 1}}),
                _request({"inputs": {"anyOf": [value, values]}}),
            ]
        },
        "Prediction": {
            "oneOf": [_object({"predictions": {"type": "array"}}, closed=True), _object({"outputs": {}}, closed=True)]
        },
        "Explain": _request({"instances": {"type": "array", "items": {"anyOf": [value, values]}, "minItems": 1}}),
        "Explanations": _object({"explanations": {"type": "array", "items": explanation}}, closed=True),
        "Examples": _request(examples, context=example),
        "Results": _object({"results": {"type": "array"}}, closed=True),
        "Status": _object({"model_version_status": {"type": "array", "items": state, "minItems": 1}}),
        "Metadata": _object({"model_spec": spec, "metadata": _object({"signature_def": signatures})}),
        "Listing": _object({"models": {"type": "array", "items": listed}}),
        "Health": _object({"status": {"enum": ["SERVING", "NOT_SERVING"]}}),
        "Error": _object({"error": text}, closed=True),
        "Anything": {"type": "object"},
    }


def _object(members: _Json, *, closed: bool = False) -> _Json:
    """An object that has all these members, and no others if it is `closed`."""
    schema = {"type": "object", "properties": members, "required": list(members)}
    return schema | {"additionalProperties": False} if closed else schema


def _request(members: _Json, **optional: _Json) -> _Json:
    schema = _object(members, closed=True)
    schema["properties"] = members | {"signature_name": {"type": "string"}} | optional
    return schema
