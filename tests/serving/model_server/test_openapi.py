"""The server's own description of its REST API, held against the server by Schemathesis."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from serving.model_server.openapi import openapi_json
from tests.serving.model_server.random_requests import serve_small_models

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
CONFIG = """
[parameters]
"path.model" = "{model}"
"path.version" = 1
"path.label" = "stable"

[checks.not_a_server_error]
expected-statuses = ["2xx", "4xx", 501]
"""


def run_schemathesis(server, model, folder, max_examples):
    """Its exit code, its report, and how many requests it made."""
    config = folder / "schemathesis.toml"
    config.write_text(CONFIG.format(model=model))
    command = [str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(config), "run"]
    options = ["--phases", "coverage,fuzzing", "--checks", CHECKS, "--max-examples", str(max_examples)]
    run = subprocess.run(
        [
            *command,
            f"http://127.0.0.1:{server.rest_port}/openapi.json",
            *options,
            "--continue-on-failure",
            "--no-color",
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    generated = re.search(r"(\d+) generated", run.stdout)
    return run.returncode, run.stdout + run.stderr, int(generated[1]) if generated else 0


def test_every_reference_of_the_description_leads_somewhere():
    document = json.loads(openapi_json())
    references = set(re.findall(r'"\$ref": "#/components/(\w+)/(\w+)"', openapi_json().decode()))
    references |= {("securitySchemes", name) for choice in document["security"] for name in choice}
    assert references == {(kind, name) for kind, named in document["components"].items() for name in named}


def test_every_path_parameter_is_described():
    for path, methods in json.loads(openapi_json())["paths"].items():
        for operation in methods.values():
            named = [parameter["$ref"].rpartition("/")[2] for parameter in operation.get("parameters", [])]
            assert named == re.findall(r"{(\w+)}", path)


@pytest.mark.integration
@pytest.mark.parametrize("model", ["images", "onnx"])
def test_schemathesis_finds_no_answer_that_is_not_described(tmp_path, model):
    with serve_small_models(tmp_path) as server:
        code, report, cases = run_schemathesis(server, model, tmp_path, max_examples=15)
        assert code == 0, report + server.log
        assert cases > 300
