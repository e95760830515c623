"""What the documents show, their commands print: run in order, in one folder, on the tiny network.

Numbers, run ids, times and verdicts may differ, words and lines may not.
"""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from serving.targets import ServeSpec, open_target
from serving.targets.process import start
from tests.docs.pages import ROOT, blocks, shown
from tests.serving.targets.conftest import free_port

pytestmark = pytest.mark.integration

README, DOCS = ROOT / "README.md", ROOT / "docs"
SMALL = {"NETWORK": "tiny", "BATCH_NORM_MOMENTUM": "0.9", "BATCH_SIZE": "64", "IMAGE_SIZE": "32"}
LENIENT = {"MINIMUM_ACCURACY": "0.5"}
TIMEOUT_S = 300


class Folder:
    """Where the commands of the documents run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "pipeline").mkdir()
        (path / "pipeline" / "conf").symlink_to(ROOT / "pipeline" / "conf")
        settings = {f"SLIPWAY_{name}_{key}": value for name in ("MAIN", "TRAIN") for key, value in SMALL.items()}
        settings |= {
            f"SLIPWAY_{name}_{key}": value for name in ("MAIN", "GATE", "PROMOTE") for key, value in LENIENT.items()
        }
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "SLIPWAY_", "TF_"))},
            **settings,
            "LOGNAME": "me",
            "PYTHONPATH": str(ROOT),
            "MLFLOW_TRACKING_URI": f"sqlite:///{path}/mlflow.db",
        }

    def start(self, command: str) -> subprocess.Popen[str]:
        """A command as a page has it; its output and its errors as one."""
        command = re.sub(r"\bslipway ", f"{sys.executable} -m pipeline ", command, count=1)
        return subprocess.Popen(
            ["bash", "-o", "pipefail", "-c", f"exec {command}" if "|" not in command else command],
            cwd=self.path,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, command: str) -> str:
        process = self.start(command)
        try:
            return process.communicate(timeout=TIMEOUT_S)[0]
        finally:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory) -> tuple[Folder, str]:
    """A folder after the quickstart, and what that printed."""
    folder = Folder(tmp_path_factory.mktemp("quickstart"))
    return folder, folder.run("slipway main --config pipeline/conf/quickstart.yaml")


def in_shape(text: str) -> list[str]:
    """Lines with what may differ from run to run put away."""
    text = re.sub(r"\b[0-9a-f]{32}\b", "ID", text)
    text = re.sub(r"\S*(?=\.slipway/)", "", text)
    text = re.sub(r"(?:\S*\bslipway|python -m pipeline) (?=[a-z]+ --)", "slipway ", text)
    text = re.sub(r"\.venv/bin/slipway\b|\bpython -m pipeline\b", "slipway", text)
    text = re.sub(r"\b(pass|REFUSE|passed|refused)\b", "VERDICT", text)
    text = re.sub(r"-?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?", "0", text)
    lines = (" ".join(line.split()) for line in text.splitlines())
    return [line for line in lines if line]


def assert_shows(page_says: str, printed: str) -> None:
    """`...` on a line of the page stands for any lines."""
    parts = [re.escape(line) for line in in_shape(page_says)]
    pattern = (
        "\n".join(parts).replace(re.escape("...") + "\n", "(?:.*\n)*?").replace("\n" + re.escape("..."), "(?:\n.*)*")
    )
    assert re.fullmatch(pattern, "\n".join(in_shape(printed))), f"the page:\n{page_says}\nprinted:\n{printed}"


def test_the_quickstart_ends_as_the_readme_shows(quickstart):
    _, printed = quickstart
    (ending,) = blocks(README, "")
    assert_shows(f"...\n{ending}", printed)


def test_the_first_predictions_are_those_that_the_readme_shows(quickstart):
    folder, _ = quickstart
    asked = [each for each in shown(README) if each.output]
    assert len(asked) == 2
    spec = ServeSpec("resnet50", folder.path / "serving_base", free_port(), free_port())
    with start(open_target("embedded"), spec, log=folder.path / "server.log"):
        for each in asked:
            printed = folder.run(each.command.replace("8501", str(spec.rest_port)))
            assert_shows("\n".join(each.output), printed)


def test_gate_promotion_and_rollback_print_what_their_page_shows(quickstart):
    folder, _ = quickstart
    told = [each for each in shown(DOCS / "promote-and-roll-back.md") if each.output]
    assert [each.words[1] for each in told] == ["main", "promote", "promote", "status", "rollback", "history"]
    for each in told:
        assert_shows("\n".join(each.output), folder.run(each.command))


def test_problems_with_images_are_told_as_their_page_shows(tmp_path):
    folder = Folder(tmp_path)
    write_pets(tmp_path)
    faulty, mended, listed = [each for each in shown(DOCS / "own-images.md") if each.output]
    assert_shows("\n".join(faulty.output), folder.run(faulty.command))
    (tmp_path / "pets" / "bird").rmdir()
    (tmp_path / "pets" / "dog" / "same.png").unlink()
    assert_shows("\n".join(mended.output), folder.run(mended.command + " --epochs 1"))
    assert_shows("\n".join(listed.output), folder.run(listed.command))


def test_a_stopped_training_is_resumed_as_its_page_shows(tmp_path):
    folder = Folder(tmp_path)
    stopped, resumed = [each for each in shown(DOCS / "resume.md") if each.output]
    printed, run_id = interrupted(folder.start(stopped.command))
    assert_shows("\n".join(line for line in stopped.output if line != "^C"), printed)
    printed, _ = interrupted(folder.start(re.sub(r"[0-9a-f]{32}", run_id, resumed.command)))
    assert_shows("\n".join(resumed.output), printed)
    assert re.search(r"^epoch 2/30 ", printed, re.MULTILINE)


def interrupted(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Stop a training by Ctrl-C within the epoch after the first that it finishes; its output, and its run."""
    lines = []
    deadline = time.monotonic() + TIMEOUT_S
    try:
        for line in process.stdout:
            lines.append(line)
            assert time.monotonic() < deadline
            if line.startswith("epoch"):
                time.sleep(0.5)
                process.send_signal(signal.SIGINT)
                break
        lines += process.stdout.readlines()
        assert process.wait(TIMEOUT_S) == 130
    finally:
        process.kill()
        process.wait()
    printed = "".join(lines)
    return printed, re.search(r"--resume ([0-9a-f]{32})", printed)[1]


def write_pets(folder: Path) -> None:
    """The folder and the CSV file of the page on own images, with all the faults that it shows."""
    from PIL import Image

    random = np.random.default_rng(0)
    for label in ("cat", "dog"):
        (folder / "pets" / label).mkdir(parents=True)
        for number, kind in enumerate(["jpg", "png", "gif", "bmp"] * 3):
            pixels = random.integers(0, 256, (40 + number, 60, 3), np.uint8)
            Image.fromarray(pixels).save(folder / "pets" / label / f"{number:03}.{kind}")
    cats, dogs = folder / "pets" / "cat", folder / "pets" / "dog"
    (folder / "pets" / "bird").mkdir()
    turned = Image.fromarray(random.integers(0, 256, (40, 60, 3), np.uint8))
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(cats / "turned.jpg", exif=exif)
    (cats / "list.txt").write_text("no image")
    (dogs / "notes.jpg").write_text("not an image\n")
    whole = (dogs / "000.jpg").read_bytes()
    (dogs / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (dogs / "same.png").write_bytes((cats / "001.png").read_bytes())
    rows = ["path,label,split", "pets/cat/000.jpg,cat,train", "pets/cat/001.png,cat,valid"]
    rows += ["pets/cat/none.png,cat,test", "pets/dog/000.jpg,dog,train"]
    (folder / "pets.csv").write_text("\n".join(rows) + "\n")
