"""What a person may do with an image on the page, besides dropping a good one on the field."""

import io

import pytest

from serving.model_server.load_rules import LoadRules
from serving.model_server.models import Models
from tests.browser.chromium import window
from tests.browser.page_world import drop, jpeg
from tests.serving.model_server.closed_world import closed_server
from tests.serving.model_server.fakes import FakeLoads, eventually, put_version, settings

pytestmark = [pytest.mark.integration, pytest.mark.timeout(200)]

MODELS = ("first", "second")


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A server of two models that refuse images: the page shows the image, and that there is no answer."""
    base = tmp_path_factory.mktemp("trial")
    for name in MODELS:
        put_version(base / name, 1, 1)
    models = Models(LoadRules(FakeLoads()))
    models.configure([settings(base / name, name=name) for name in MODELS])
    eventually(models.ready)
    with closed_server(models) as server:
        yield f"http://127.0.0.1:{server.rest_port}"


@pytest.fixture
def page(browser, address):
    from playwright.sync_api import expect

    with window(browser) as found:
        found.page.goto(address)
        expect(found.page.locator(".model")).to_have_count(2)
        yield found.page
        assert [text for text in found.problems if "status of " not in text and ":predict" not in text] == []


def turned_photo():
    """A JPEG that is red above and blue below as it is stored, which EXIF says to turn by a quarter."""
    from PIL import Image

    picture = Image.new("RGB", (64, 64), (0, 0, 255))
    picture.paste((255, 0, 0), (0, 0, 64, 32))
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    picture.save(file, "JPEG", exif=exif)
    return file.getvalue()


def test_a_photo_lies_under_the_heat_map_as_the_network_sees_it_whatever_its_exif_says(page):
    from PIL import Image
    from playwright.sync_api import expect

    drop(page, turned_photo())
    expect(page.locator(".picture img")).to_be_visible()
    expect(page.locator("#said")).to_contain_text("no answer")
    shot = Image.open(io.BytesIO(page.locator(".picture img").screenshot())).convert("RGB")
    width, height = shot.size
    for across in (width // 4, 3 * width // 4):
        above, below = shot.getpixel((across, height // 4)), shot.getpixel((across, 3 * height // 4))
        assert above[0] - above[2] > 150
        assert below[2] - below[0] > 150


def test_another_model_is_asked_about_the_image_that_is_there(page):
    from playwright.sync_api import expect

    drop(page, jpeg())
    expect(page.locator(".answer h3")).to_have_text("first")
    page.get_by_label("Model", exact=True).select_option("second")
    expect(page.locator(".answer h3")).to_have_text("second")
    expect(page.locator("#said")).to_contain_text("second gave no answer")


def test_a_file_may_be_chosen_twice(page):
    from playwright.sync_api import expect

    page.set_input_files("#file", {"name": "twice.jpg", "mimeType": "image/jpeg", "buffer": jpeg()})
    expect(page.locator("#said")).to_contain_text("twice.jpg")
    expect(page.locator("#file")).to_have_value("")  # a browser tells of no change where there is none


def test_what_cannot_be_read_is_said_and_what_was_there_stays(page, tmp_path):
    from playwright.sync_api import expect

    drop(page, jpeg())
    expect(page.locator("#said")).to_contain_text("photo.jpg")
    gone = tmp_path / "gone.jpg"
    gone.write_bytes(jpeg())
    page.evaluate("document.body.append(Object.assign(document.createElement('input'), { id: 'kept', type: 'file' }))")
    page.set_input_files("#kept", gone)
    gone.unlink()
    transfer = page.evaluate_handle(
        "() => { const transfer = new DataTransfer(); transfer.items.add(kept.files[0]); return transfer; }"
    )
    page.dispatch_event("#drop", "drop", {"dataTransfer": transfer})
    expect(page.locator("#said")).to_contain_text("gone.jpg could not be tried: it cannot be read")
    expect(page.locator(".answer")).to_have_count(1)


def test_an_image_that_misses_the_field_does_not_take_the_pages_place(page):
    went_on = page.evaluate(
        """() => ["dragover", "drop"].map((kind) => {
            const dataTransfer = new DataTransfer();
            dataTransfer.items.add(new File(["x"], "photo.jpg", { type: "image/jpeg" }));
            return document.querySelector("h1").dispatchEvent(
                new DragEvent(kind, { bubbles: true, cancelable: true, dataTransfer }));
        })"""
    )
    assert went_on == [False, False]
