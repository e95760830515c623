"""Reads objects, a JSON list, from standard input; prints a line for each thing that KServe's own classes do not take.

Run by a Python that has `kserve`: its classes are made from KServe's API, and have no strict reading of their own.
"""

import json
import re
import sys
from typing import Any

from kserve import models
from kubernetes import client

KINDS = {
    "InferenceService": "V1beta1InferenceService",
    "ServingRuntime": "V1alpha1ServingRuntime",
}
QUANTITY = (int, str)
PLAIN = {"str": str, "int": int, "bool": bool, "float": (int, float), "object": object}
PLAIN |= {"ResourceQuantity": QUANTITY, "IntstrIntOrString": QUANTITY}


def findings(value: Any, kind: str, place: str) -> list[str]:
    """What a value has that its class has not, and what the class wants and it has not."""
    if match := re.fullmatch(r"[lL]ist\[(.+)\]", kind):
        if not isinstance(value, list):
            return [f"{place}: is no list"]
        return [text for at, each in enumerate(value) for text in findings(each, match[1], f"{place}[{at}]")]
    if match := re.fullmatch(r"[dD]ict[(\[]str, (.+)[)\]]", kind):
        if not isinstance(value, dict):
            return [f"{place}: is no mapping"]
        return [text for key, each in value.items() for text in findings(each, match[1], f"{place}.{key}")]
    if kind in PLAIN:
        right = isinstance(value, PLAIN[kind]) and (kind in {"bool", "object"} or not isinstance(value, bool))
        return [] if right else [f"{place}: {value!r} is no {kind}"]
    return _of_class(value, kind, place)


def _of_class(value: Any, kind: str, place: str) -> list[str]:
    made = getattr(models, kind, None) or getattr(client, kind, None)
    if made is None:
        return [f"{place}: there is no class {kind}"]
    if not isinstance(value, dict):
        return [f"{place}: is no {kind}"]
    if hasattr(made, "model_validate"):  # the client's own classes look at all that is below them
        try:
            made.model_validate(value)
        except ValueError as error:
            return [f"{place}.{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
        return []
    fields = {made.attribute_map[name]: (name, of) for name, of in made.openapi_types.items()}
    found = [f"{place}.{key}: {kind} has no such field" for key in value if key not in fields]
    try:
        made(**{fields[key][0]: each for key, each in value.items() if key in fields})
    except (TypeError, ValueError) as error:
        found.append(f"{place}: {error}")
    for key, each in value.items():
        if key in fields:
            found += findings(each, fields[key][1], f"{place}.{key}")
    return found


if __name__ == "__main__":
    for each in json.load(sys.stdin):
        for text in findings(each, KINDS[each["kind"]], each["kind"]):
            print(text)  # noqa: T201
