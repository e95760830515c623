"""Kubernetes' own schemas, strictly: a field that they do not know is a finding too."""

import json
from functools import cache

from kubernetes_validate import SchemaNotFoundError, ValidationError, utils

VERSIONS = ("1.30", "1.31", "1.32", "1.33", "1.34")
WITHOUT_SCHEMA = {"InferenceService", "ServingRuntime", "ServiceMonitor", "PodMonitor", "PrometheusRule"}

utils.schema_contents = cache(utils.schema_contents)  # it reads a megabyte for each object


def findings(objects):
    """One line for each object and version that does not fit together."""
    return [
        text
        for each in objects
        if each["kind"] not in WITHOUT_SCHEMA
        for version in VERSIONS
        for text in _findings(json.dumps(each), version)
    ]


@cache
def _findings(text, version):
    document = json.loads(text)
    try:
        used = utils.validate(document, version, strict=True)
    except (ValidationError, SchemaNotFoundError) as error:
        return (f"{version} {document['kind']} {document['metadata'].get('name')}: {error}",)
    assert str(used) == version, f"checked by {used}'s schemas"
    return ()
