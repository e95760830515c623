"""KServe's kinds, for which no schema is to be had, by KServe's own classes, where there is an environment with them.

SLIPWAY_TEST_KSERVE names a Python that has the packages `kserve` and `kserve-storage`, which do not go with ours.
"""

import copy
import json
import os
import subprocess
from pathlib import Path

import pytest

from serving.stores import Bundle, open_store
from tests.manifests.rendered import exports
from tests.serving.model_server.servables import seal_servable

PYTHON = os.environ.get("SLIPWAY_TEST_KSERVE")
EXPORTS = {case: files for case, files in exports().items() if case.startswith("kserve")}
pytestmark = pytest.mark.skipif(not PYTHON, reason="SLIPWAY_TEST_KSERVE names no Python with kserve")


def said(objects):
    script = Path(__file__).with_name("kserve_classes.py")
    done = subprocess.run(
        [PYTHON, str(script)],
        input=json.dumps(objects),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        cwd="/",
        env={"PATH": os.environ["PATH"]},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def of_kserve():
    return [each for files in EXPORTS.values() for each in files.values() if each["kind"] != "ServiceAccount"]


def test_kserves_classes_take_what_export_renders_and_find_what_is_broken():
    good = of_kserve()
    service, runtime = (
        copy.deepcopy(next(each for each in good if each["kind"] == kind))
        for kind in ("InferenceService", "ServingRuntime")
    )
    service["spec"]["predictor"]["canaryTraficPercent"] = 10
    service["spec"]["predictor"]["model"]["storageUri"] = 3
    runtime["spec"]["containers"][0].pop("name")
    runtime["spec"]["containers"][0]["readinesProbe"] = {}
    runtime["spec"].pop("supportedModelFormats")
    runtime["spec"]["volumes"][0]["emptyDir"]["limit"] = "1Mi"
    lines = said([*good, service, runtime])
    assert {line.partition(": ")[0] for line in lines} == {
        "InferenceService.spec.predictor.canaryTraficPercent",
        "InferenceService.spec.predictor.model.storageUri",
        "ServingRuntime.spec.containers[0].readinesProbe",
        "ServingRuntime.spec.containers[0].name",
        "ServingRuntime.spec.volumes[0].emptyDir.limit",
    }, lines


@pytest.mark.integration
def test_kserves_storage_initializer_fetches_the_version_whole_and_no_other(s3_server, tmp_path):
    base = s3_server.bucket_for(tmp_path)
    for version in (3, 30):
        bundle = tmp_path / f"bundle-{version}"
        digest = seal_servable(bundle, {"onnx-fp32": 90.0})
        open_store(base).publish("m", version, Bundle(digest, lambda _into, bundle=bundle: bundle))
    environment = {
        **{key: value for key, value in os.environ.items() if key.startswith("AWS_")},
        "PATH": os.environ["PATH"],
        "AWS_ENDPOINT_URL": s3_server.endpoint,
    }
    fetch = "import sys; from kserve_storage import Storage; Storage.download(*sys.argv[1:])"
    command = [PYTHON, "-c", fetch, f"{base}/m/3/", str(tmp_path / "fetched")]
    (tmp_path / "fetched").mkdir()
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=600, check=False, env=environment, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    with open_store(base).directory("m", 3) as whole:
        wanted = {path.relative_to(whole).as_posix(): path.read_bytes() for path in whole.rglob("*") if path.is_file()}
    fetched = tmp_path / "fetched"
    assert wanted == {
        path.relative_to(fetched).as_posix(): path.read_bytes() for path in fetched.rglob("*") if path.is_file()
    }
