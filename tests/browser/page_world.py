"""A server with its page, a registry and passes over them: versions without TensorFlow, as reconcile's tests have."""

import base64
import io
import json
import urllib.error
import urllib.request

import numpy as np

from pipeline.reconcile.settle import pass_alone
from registry.card import CardFacts, VariantFacts
from registry.full_card import record_gate, save_card
from serving.page_file import PAGE_FILE
from serving.traffic import TRAFFIC_FILE
from tests.pipeline.reconcile_world import NAME, ReconcileWorld
from tests.registry.conftest import make_evaluation
from tests.serving.model_server.servables import LABELS


class PageWorld(ReconcileWorld):
    """Its server is told where `page.json` is, as `slipway serve` does it."""

    def server_flags(self, file="labels.config"):
        files = (f"--page_file={self.base / PAGE_FILE}", f"--traffic_config_file={self.base / TRAFFIC_FILE}")
        return (*super().server_flags(file), *files)

    def carded(self, version):
        """Give a version its run's model card, with what a gate said of it."""
        evaluation = make_evaluation([0, 1, 2] * 10, [0, 1, 2] * 9 + [0, 1, 1], labels=LABELS)
        facts = CardFacts(
            name=NAME,
            run_id=version.run_id,
            network="a matrix and a softmax",
            data="30 <b>pictures</b>, 3 classes",
            image_size=(6, 4),
            dataset_digest="d" * 64,
            git_commit="c" * 40,
            variants=(VariantFacts("onnx-fp32", 0.9667, 90.0, 1.25, 0.1),),
            pictures=("worst_mistakes.png",),
        )
        save_card(self.registry, facts, evaluation)
        record_gate(self.registry, version, self.logged_report(version))

    def pass_over(self):
        """A pass of reconcile, as the watcher or a command makes it."""
        with self.scene() as scene:
            report = pass_alone(scene, (NAME,), wait_s=30)
        assert report.exit_code == 0, report.text()


def jpeg(seed=0, side=24):
    from PIL import Image

    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()


def asked(address, document=None, token=None):
    """Status and JSON of an answer."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    data = None if document is None else json.dumps(document).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(address, data, headers), timeout=30) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def drop(page, data, name="photo.jpg"):
    """Drop a file on the page, as a person does from a folder."""
    transfer = page.evaluate_handle(
        """([encoded, name]) => {
            const bytes = Uint8Array.from(atob(encoded), (letter) => letter.charCodeAt(0));
            const transfer = new DataTransfer();
            transfer.items.add(new File([bytes], name, { type: "image/jpeg" }));
            return transfer;
        }""",
        [base64.b64encode(data).decode(), name],
    )
    page.dispatch_event("#drop", "drop", {"dataTransfer": transfer})


def instance():
    return {"image_bytes": {"b64": base64.b64encode(jpeg()).decode()}}


def expect_explanation(found, status, answer):
    """The heat map, where the server has one; else, by 501, that it has none, and why."""
    from playwright.sync_api import expect

    if status == 200:
        expect(found.locator("canvas")).to_be_visible()
        assert found.locator("canvas").evaluate("c => c.width * c.height") > 1
        return
    assert status == 501, answer
    expect(found.locator(".why")).to_contain_text("No heat map from this server")
    expect(found.locator(".why")).to_contain_text(answer["error"][:40])
