"""The pictures of docs/page.md: `python -m tests.browser.pictures` trains two networks, serves them, and looks.

It takes some minutes, and writes docs/pictures/page-phone.png and page-desktop.png.
"""

import tempfile
from pathlib import Path

from tests.browser.chromium import chromium, window
from tests.pipeline.lifecycle_world import NETWORK, ROOT, World, background, free_ports, wait_until

PICTURES = ROOT / "docs" / "pictures"
SIZES = {"page-phone": {"width": 390, "height": 844}, "page-desktop": {"width": 1280, "height": 900}}
FIRST = ("--epochs", "4", "--batch-size", "32", "--learning-rate", "0.001")
SECOND = ("--epochs", "10", "--batch-size", "32", "--learning-rate", "0.002", "--seed", "1")
_NAME = "resnet50"


def main() -> None:
    """Make version 1 champion and version 2 challenger, and photograph the page after a digit was dropped."""
    with tempfile.TemporaryDirectory(prefix="slipway-pictures-") as folder:
        world = World(Path(folder))
        _done(world.run("main", *NETWORK, *FIRST, "--minimum-accuracy", "0.5", timeout_s=900))
        registered = world.run("train", *NETWORK, *SECOND, timeout_s=900)
        for _ in range(2):  # evaluate, register
            registered = _done(world.run(*_done(registered).next_words, timeout_s=900))
        _done(world.run("promote", "--version", 2, "--to", "challenger", "--reason", "trained for longer"))
        rest_port, grpc_port = free_ports()
        words = ("serve", "--rest-port", rest_port, "--grpc-port", grpc_port)
        log = Path(folder) / "serve.log"
        with background(world, *words, log=log):
            wait_until(lambda: "serving resnet50" in log.read_text(), log.read_text, timeout_s=120)
            digit = next((Path(folder) / ".slipway" / "digits" / "3").glob("*.png"))
            with chromium() as browser:
                _photograph(browser, f"http://127.0.0.1:{rest_port}", digit)


def _photograph(browser: object, address: str, digit: Path) -> None:
    from playwright.sync_api import expect

    for name, size in SIZES.items():
        with window(browser) as found:
            page = found.page
            page.set_viewport_size(size)
            page.goto(address)
            expect(page.locator(".label.canary")).to_contain_text("version 2")
            for _ in range(20):
                page.evaluate(
                    "async ([name, encoded]) => { await fetch(`v1/models/${name}:predict`, { method: 'POST', body: "
                    "JSON.stringify({ signature_name: 'serving_bytes', instances: [{ image_bytes: { b64: encoded } }] }"
                    ") }); }",
                    [_NAME, _encoded(digit)],
                )
            page.set_input_files("#file", digit)
            expect(page.locator(".why").last).not_to_contain_text("Asking")
            page.locator("#ledger summary").last.click()
            page.wait_for_timeout(3000)  # two looks at the traffic
            page.screenshot(path=PICTURES / f"{name}.png", full_page=True, animations="disabled")


def _encoded(file: Path) -> str:
    import base64

    return base64.b64encode(file.read_bytes()).decode()


def _done(done: object) -> object:
    assert done.code == 0, done.out + done.err
    return done


if __name__ == "__main__":
    main()
