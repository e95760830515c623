"""What `mlflow run --backend kubernetes` and several workers are given: valid for each Kubernetes, and one another."""

import copy
import json
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from pipeline.cli import main

DIRECTORY = Path(__file__).parents[2] / "deploy" / "mlflow-run"
FILES = sorted(path.name for path in DIRECTORY.glob("*.yaml"))
KUBERNETES = ("1.30", "1.31", "1.32", "1.33", "1.34")


def read(name):
    return yaml.safe_load((DIRECTORY / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("name", FILES)
def test_a_template_is_valid_for_each_kubernetes(name, version):
    kubernetes_validate.validate(read(name), version, strict=True)


@pytest.mark.parametrize("path", [("spec", "completion"), ("spec", "template", "spec", "containers", 0, "comand")])
def test_a_template_that_is_broken_on_purpose_is_found(path):
    broken = copy.deepcopy(read("workers-job.yaml"))
    place = broken
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = 1
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, "1.34", strict=True)


@pytest.mark.parametrize("name", ["job.yaml", "workers-job.yaml"])
def test_a_job_runs_without_rights_and_writes_only_into_volumes(name):
    pod = read(name)["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {each["name"] for each in container["volumeMounts"]} == {each["name"] for each in pod["volumes"]}
    assert container["workingDir"] in {each["mountPath"] for each in container["volumeMounts"]}
    assert {"requests", "limits"} == set(container["resources"])


def test_each_worker_is_told_who_it_is_and_where_the_others_are():
    job, service = read("workers-job.yaml"), read("workers-service.yaml")
    name, spec = job["metadata"]["name"], job["spec"]
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    assert spec["completionMode"] == "Indexed"
    assert spec["completions"] == spec["parallelism"]
    assert [each["name"] for each in container["env"]] == [
        "MLFLOW_TRACKING_URI",  # what it logs would go with its Pod otherwise
        "WORKER",
        "TF_CONFIG",  # an earlier one is filled in
    ]
    for index in range(spec["completions"]):
        config = json.loads(container["env"][2]["value"].replace("$(WORKER)", str(index)))
        (port,) = container["ports"]
        subdomain = service["metadata"]["name"]
        assert config["cluster"]["worker"] == [
            f"{name}-{number}.{subdomain}:{port['containerPort']}" for number in range(spec["completions"])
        ]
        assert config["task"] == {"type": "worker", "index": index}
    assert pod["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["selector"].items() <= spec["template"]["metadata"]["labels"].items()
    assert service["spec"]["publishNotReadyAddresses"] is True


def test_workers_are_let_in_to_each_other_and_nobody_else_is():
    template, policy = read("workers-job.yaml")["spec"]["template"], read("workers-policy.yaml")["spec"]
    (rule,) = policy["ingress"]
    for selector in (policy["podSelector"], *(peer["podSelector"] for peer in rule["from"])):
        assert selector["matchLabels"].items() <= template["metadata"]["labels"].items()
    (port,) = template["spec"]["containers"][0]["ports"]
    assert [each["port"] for each in rule["ports"]] == [port["name"]]


def test_a_chief_that_fails_does_not_begin_a_second_run_by_itself():
    job = read("workers-job.yaml")["spec"]
    assert (job["backoffLimit"], job["template"]["spec"]["restartPolicy"]) == (0, "Never")


def test_the_workers_command_is_one_that_slipway_takes():
    program, name, *rest = read("workers-job.yaml")["spec"]["template"]["spec"]["containers"][0]["command"]
    assert program == "slipway"
    options = {option for parameter in main.commands[name].params for option in parameter.opts}
    assert {word.partition("=")[0] for word in rest} <= options
