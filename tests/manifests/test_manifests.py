"""Every manifest, by Kubernetes' schemas of five versions, and by what no schema says."""

import copy
import re

import pytest
import yaml

from pipeline.cli import main
from pipeline.config import load_config
from pipeline.in_cluster import write_manifests
from tests.manifests import agreement, schemas
from tests.manifests.rendered import FILES, KUBERNETES, OVERLAYS, built, documents, exports, of_export, overlay

EXPORTS = exports()
KUSTOMIZE = {"kustomization.yaml"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(KUBERNETES).as_posix())
def test_a_file_is_valid_for_every_version(file):
    objects = documents(file.read_text(encoding="utf-8"))
    if file.name in KUSTOMIZE or isinstance(yaml.safe_load(file.read_text().split("\n---\n")[0]), list):
        assert not objects  # what kustomize reads itself
        return
    assert objects
    assert schemas.findings(objects) == []


@pytest.mark.parametrize("name", OVERLAYS)
def test_what_kustomize_builds_of_an_overlay_is_valid_for_every_version(name):
    assert schemas.findings(overlay(name)) == []


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_objects_of_an_overlay_fit_each_other(name):
    objects = overlay(name)
    assert agreement.findings(objects) == []
    assert {each["metadata"].get("namespace", "slipway") for each in objects} == {"slipway"}


@pytest.mark.parametrize("case", EXPORTS)
def test_what_export_renders_is_valid_for_every_version(case):
    objects = of_export(EXPORTS[case])
    assert len(objects) == len(EXPORTS[case])
    assert schemas.findings(objects) == []


@pytest.mark.parametrize("case", [case for case in EXPORTS if case.startswith("kubernetes")])
def test_what_export_renders_fits_together(case):
    assert agreement.findings(of_export(EXPORTS[case])) == []


@pytest.mark.parametrize("case", ["kubernetes-embedded", "kserve-tensorflow_serving-full"])
def test_an_exported_folder_is_one_that_kustomize_builds(case, tmp_path):
    write_manifests(EXPORTS[case], tmp_path)
    by_name = lambda objects: sorted(objects, key=lambda each: (each["kind"], each["metadata"]["name"]))  # noqa: E731
    assert by_name(built(tmp_path)) == by_name(of_export(EXPORTS[case]))


def test_kinds_without_a_schema_are_those_that_the_page_names():
    kinds = {each["kind"] for name in OVERLAYS for each in overlay(name)}
    kinds |= {each["kind"] for files in EXPORTS.values() for each in files.values()}
    assert kinds & schemas.WITHOUT_SCHEMA == schemas.WITHOUT_SCHEMA
    page = (KUBERNETES.parents[1] / "docs" / "kubernetes.md").read_text(encoding="utf-8")
    assert all(f"`{kind}`" in page for kind in schemas.WITHOUT_SCHEMA)


def part(objects, kind, name=None):
    return next(each for each in objects if each["kind"] == kind and name in {None, each["metadata"]["name"]})


def server(objects):
    return part(objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]


def test_the_embedded_server_is_told_of_each_file_that_its_sidecar_mirrors():
    deployment = part(overlay("embedded"), "Deployment", "model-server")
    assert {
        "--model_config_file=/models/labels.config",
        "--traffic_config_file=/models/traffic.json",
        "--page_file=/models/page.json",
    } <= set(deployment["spec"]["template"]["spec"]["containers"][0]["args"])


def told(objects, name):
    """What a CronJob's command is told, as the command itself reads it, and the configuration that it names."""
    (container,) = part(objects, "CronJob", name)["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    slipway, command = container["command"]
    assert slipway == "slipway"
    words = [word for word in container["args"] if not word.startswith("--base=")]
    assert "--config=/config/slipway.yaml" in words
    return main.commands[command].make_context(command, words).params, part(objects, "ConfigMap", name)["data"]


def config_of(data, tmp_path):
    (tmp_path / "slipway.yaml").write_text(data["slipway.yaml"], encoding="utf-8")
    return load_config(str(tmp_path / "slipway.yaml"))


def test_the_training_of_the_night_has_a_reason_that_can_come_though_the_digits_never_change(tmp_path):
    _, data = told(overlay("team"), "retrain")
    config = config_of(data, tmp_path)
    assert config.data.source == "digits"
    assert config.retrain.max_age_days > 0


def test_the_check_for_drift_reads_what_the_model_servers_log_and_may_write_nothing_there(tmp_path):
    objects = overlay("drift")
    words, data = told(objects, "drift")
    assert not words["watch"], "a CronJob's check ends"
    log = config_of(data, tmp_path).prediction_log
    server = part(objects, "Deployment", "model-server")["spec"]["template"]["spec"]
    check = part(objects, "CronJob", "drift")["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert f"--prediction_log={log}" in server["containers"][0]["args"]
    assert not mount(server, log).get("readOnly")
    assert mount(check, log)["readOnly"]
    assert claim(server, log)["claimName"] == claim(check, log)["claimName"]
    assert part(objects, "PersistentVolumeClaim")["spec"]["accessModes"] == ["ReadWriteMany"]
    assert server["securityContext"]["runAsUser"] == check["securityContext"]["runAsUser"], "files are their owner's"


def test_the_check_for_drift_has_a_login_of_mlflow_and_nothing_else():
    (container,) = part(overlay("drift"), "CronJob", "drift")["spec"]["jobTemplate"]["spec"]["template"]["spec"][
        "containers"
    ]
    assert container["envFrom"] == [{"secretRef": {"name": "slipway-drift"}}]
    page = (KUBERNETES.parents[1] / "docs" / "kubernetes.md").read_text(encoding="utf-8")
    row = next(line for line in page.splitlines() if line.startswith("| `slipway-drift` |"))
    assert set(re.findall("`([A-Z_]+)`", row)) == {
        *("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
    }


def test_the_images_that_log_and_read_the_log_have_pyarrow():
    for name in ("serving-openvino", "pipeline"):  # what serving.Dockerfile and training.Dockerfile install
        locked = (KUBERNETES.parents[1] / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
        assert re.search(r"^pyarrow==", locked, re.MULTILINE)


def mount(pod, place):
    """Where the pod's first container finds that path."""
    (found,) = [each for each in pod["containers"][0]["volumeMounts"] if each["mountPath"] == place]
    return found


def claim(pod, place):
    volumes = {each["name"]: each for each in pod["volumes"]}
    return volumes[mount(pod, place)["name"]]["persistentVolumeClaim"]


def pod(objects):
    return part(objects, "Deployment")["spec"]["template"]["spec"]


BROKEN_FORM = {
    "a field that is misspelt": lambda o: pod(o).update(terminationGracePeriod=5),
    "a field of a container that is misspelt": lambda o: server(o).update(readinesProbe={}),
    "a number where a text belongs": lambda o: part(o, "ConfigMap")["data"].update(x=1),
    "a text where a number belongs": lambda o: part(o, "Deployment")["spec"].update(replicas="two"),
    "a selector that is missing": lambda o: part(o, "Deployment")["spec"].pop("selector"),
    "a container without a name": lambda o: server(o).pop("name"),
    "an API version that is gone": lambda o: part(o, "PodDisruptionBudget").update(apiVersion="policy/v1beta1"),
    "a metric without a target": lambda o: part(o, "HorizontalPodAutoscaler")["spec"]["metrics"][0][
        "containerResource"
    ].pop("target"),
}


@pytest.mark.parametrize("breaking", BROKEN_FORM)
def test_a_manifest_that_is_broken_in_its_form_is_found_for_every_version(breaking):
    objects = copy.deepcopy(of_export(EXPORTS["kubernetes-embedded"]))
    assert schemas.findings(objects) == []
    BROKEN_FORM[breaking](objects)
    assert len(schemas.findings(objects)) == len(schemas.VERSIONS)


BROKEN_SENSE = {
    "a probe of a port that is not there": lambda o: server(o)["readinessProbe"]["httpGet"].update(port="web"),
    "no liveness probe": lambda o: server(o).pop("livenessProbe"),
    "no limits": lambda o: server(o)["resources"].pop("limits"),
    "a file system that can be written": lambda o: server(o)["securityContext"].update(readOnlyRootFilesystem=False),
    "capabilities": lambda o: server(o)["securityContext"].pop("capabilities"),
    "root": lambda o: pod(o)["securityContext"].update(runAsUser=0),
    "no seccomp profile": lambda o: pod(o)["securityContext"].pop("seccompProfile"),
    "an image without a version": lambda o: server(o).update(image="slipway-serving"),
    "a volume without an end": lambda o: pod(o)["volumes"][0].update(emptyDir={}),
    "a volume that nobody mounts": lambda o: pod(o)["volumes"].append({"name": "x", "emptyDir": {"sizeLimit": "1Mi"}}),
    "a ConfigMap that is not there": lambda o: o.remove(part(o, "ConfigMap")),
    "a volume that nobody made": lambda o: (
        pod(o)["volumes"][0].pop("emptyDir"),
        pod(o)["volumes"][0].update(persistentVolumeClaim={"claimName": "x"}),
    ),
    "a ServiceAccount that is not there": lambda o: o.remove(part(o, "ServiceAccount")),
    "a Service of another version": lambda o: part(o, "Service", "resnet50")["spec"]["selector"].update(
        {"slipway/version": "4"}
    ),
    "a Service of all versions": lambda o: (
        part(o, "Service", "resnet50")["spec"]["selector"].pop("slipway/version"),
        o.append(other_version(o)),
    ),
    "a Service's port that leads nowhere": lambda o: part(o, "Service")["spec"]["ports"][0].update(targetPort="web"),
    "a budget of other Pods": lambda o: part(o, "PodDisruptionBudget")["spec"]["selector"].update(
        matchLabels={"slipway/name": "x"}
    ),
    "a policy for other Pods": lambda o: part(o, "NetworkPolicy")["spec"]["podSelector"].update(
        matchLabels={"slipway/name": "x"}
    ),
    "an autoscaler of another Deployment": lambda o: part(o, "HorizontalPodAutoscaler")["spec"][
        "scaleTargetRef"
    ].update(name="resnet50-v2"),
    "an end before the answers": lambda o: pod(o).update(terminationGracePeriodSeconds=30),
    "a password": lambda o: server(o)["env"].append({"name": "AWS_SECRET_ACCESS_KEY", "value": "x"}),
    "two of one name": lambda o: o.append(copy.deepcopy(part(o, "Service"))),
}


def other_version(objects):
    other = copy.deepcopy(part(objects, "Deployment"))
    other["metadata"]["name"] = "resnet50-v4"
    for labels in (other["spec"]["selector"]["matchLabels"], other["spec"]["template"]["metadata"]["labels"]):
        labels["slipway/version"] = "4"
    return other


@pytest.mark.parametrize("breaking", BROKEN_SENSE)
def test_objects_that_do_not_fit_together_are_found(breaking):
    objects = copy.deepcopy(of_export(EXPORTS["kubernetes-embedded"]))
    assert agreement.findings(objects) == []
    BROKEN_SENSE[breaking](objects)
    assert agreement.findings(objects)
