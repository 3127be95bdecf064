"""Uploading in a real browser: good and bad files, captions, and training on what was kept."""

import io
import zipfile

from PIL import Image
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import Dashboard

COLORS = ("red", "green", "blue", "white")


def png(color: str) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (64, 64), color).save(content, "PNG")
    return content.getvalue()


def mixed_zip() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for color in COLORS:
            archive.writestr(f"{color}.png", png(color))
            archive.writestr(f"{color}.txt", f"{color} square")
        archive.writestr("broken.png", b"\x89PNG and nothing more")
        archive.writestr("../evil.png", png("black"))
        archive.writestr("<img src=x>.exe", b"MZ")
    return content.getvalue()


def test_a_zip_with_three_bad_files_is_uploaded_and_the_rest_trained_on(page: Page, dashboard: Dashboard):
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto(f"{dashboard.url}/datasets")
    page.get_by_label("Dataset name").fill("Four <b>colours</b>")
    page.get_by_role("button", name="Create dataset").click()
    upload = page.get_by_label("Upload images, captions or a zip")
    upload.set_input_files({"name": "set.zip", "mimeType": "application/zip", "buffer": mixed_zip()})
    expect(page.get_by_text("Kept 4 images and 4 captions, refused 3.")).to_be_visible()
    refused = page.get_by_role("list", name="Refused files").get_by_role("listitem")
    expect(refused).to_have_count(3)
    expect(refused.filter(has_text="../evil.png")).to_contain_text("leads out of")
    expect(page.get_by_role("button", name="white.png", exact=True)).to_be_visible()
    expect(page.get_by_text("4 of 4 (100%)")).to_be_visible()

    # What is typed stays while an upload ends; the page shows what it brought when the dialog is closed.
    held: list[Route] = []
    page.route("**/upload/**", lambda route: held.append(route))
    with page.expect_request("**/upload/**"):
        upload.set_input_files({"name": "late.png", "mimeType": "image/png", "buffer": png("black")})
    page.get_by_role("button", name="white.png", exact=True).click()
    page.get_by_label("Caption", exact=True).clear()
    page.get_by_label("Caption", exact=True).press_sequentially("white square, flat")
    held[0].continue_()
    expect(page.get_by_text("Kept 1 image and 0 captions, refused 0.")).to_be_visible()
    expect(page.get_by_label("Caption", exact=True)).to_have_value("white square, flat")
    page.get_by_role("button", name="Save caption").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.get_by_text("4 of 5 (80%)")).to_be_visible()
    expect(page.get_by_role("button", name="late.png", exact=True)).to_be_visible()
    expect(page.get_by_text("white square, flat")).to_be_visible()

    page.get_by_role("link", name="Train on this dataset").click()
    expect(page.get_by_text("5 images")).to_be_visible()
    page.get_by_role("button", name="Next").click()
    page.get_by_label("Job name").fill("four colours")
    page.get_by_role("spinbutton", name="Epochs").fill("1")
    page.get_by_role("spinbutton", name="Repeats").fill("1")
    page.get_by_role("button", name="Next").click()
    page.get_by_role("button", name="Start training").click()
    page.wait_for_url("**/job?id=*")
    expect(page.get_by_text("Succeeded").first).to_be_visible()
    assert all(url.startswith((dashboard.url, "data:", "blob:")) for url in requests)


def test_an_upload_tells_its_progress_to_everybody_and_can_be_stopped(page: Page, dashboard: Dashboard):
    page.goto(f"{dashboard.url}/datasets")
    page.get_by_label("Dataset name").fill("Stopped")
    page.get_by_role("button", name="Create dataset").click()
    page.route("**/upload/**", lambda route: None)  # the server does not answer until the upload is stopped
    upload = page.get_by_label("Upload images, captions or a zip")
    upload.set_input_files(
        [{"name": f"{color}.png", "mimeType": "image/png", "buffer": png(color)} for color in COLORS]
    )
    bar = page.get_by_role("progressbar", name="Upload of all files")
    expect(bar).to_be_visible()
    expect(bar).to_have_attribute("aria-valuemax", "100")
    expect(page.get_by_text("(1 of 4)")).to_be_visible()
    page.get_by_role("button", name="Stop uploading").click()
    expect(page.get_by_text("Kept 0 images and 0 captions, refused 4.")).to_be_visible()
    expect(upload).to_be_focused()
    # A file that has arrived is taken in, whoever listens: only what comes after it is stopped, and that is said.
    page.evaluate(
        """() => {
            XMLHttpRequest.prototype.send = function () {
                this.upload.onload()
                window.answer = () => {
                    Object.defineProperty(this, "status", { value: 200 })
                    Object.defineProperty(this, "responseText", { value: '{"kept": ["red.png"]}' })
                    this.onload()
                }
            }
        }"""
    )
    upload.set_input_files(
        [{"name": f"{color}.png", "mimeType": "image/png", "buffer": png(color)} for color in COLORS[:2]]
    )
    expect(page.get_by_text("red.png (1 of 2): checking…")).to_be_visible()
    page.get_by_role("button", name="Stop uploading").click()
    expect(page.get_by_text("Stopping after this file.")).to_be_visible()
    page.evaluate("answer()")
    expect(page.get_by_text("Kept 1 image and 0 captions, refused 1.")).to_be_visible()


def test_images_are_captioned_one_after_the_other_and_nothing_typed_is_lost(page: Page, dashboard: Dashboard):
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto(f"{dashboard.url}/datasets")
    page.get_by_label("Dataset name").fill("Captions")
    page.get_by_role("button", name="Create dataset").click()
    upload = page.get_by_label("Upload images, captions or a zip")
    images = [{"name": f"{color}.png", "mimeType": "image/png", "buffer": png(color)} for color in COLORS]
    files = [*images, {"name": "orphan.txt", "mimeType": "text/plain", "buffer": b"of nothing"}]
    upload.set_input_files(files)
    expect(page.get_by_text("Kept 4 images and 1 caption, refused 0.")).to_be_visible()
    expect(page.get_by_text("1 caption has no image: orphan.txt")).to_have_count(2)  # the report and the warning
    upload.set_input_files(files[:2])
    expect(page.get_by_text("Kept 0 images and 0 captions, refused 0.")).to_be_visible()
    expect(page.get_by_text("2 files were already there: red.png, green.png")).to_be_visible()

    page.get_by_text("Only without caption").click()
    page.wait_for_url("**show=uncaptioned*")
    page.get_by_role("button", name="blue.png", exact=True).click()
    dialog, caption = page.get_by_role("dialog"), page.get_by_label("Caption", exact=True)
    original = dialog.get_by_role("link", name="Open the original")
    assert page.request.get(f"{dashboard.url}{original.get_attribute('href')}").body() == png("blue")
    caption.click()
    caption.press_sequentially("blue square")
    caption.press("Control+Enter")  # saves and goes on, with the focus where the next caption is written
    expect(dialog.get_by_text("2 of 4. Saved the caption of blue.png.")).to_be_visible()
    expect(caption).to_be_focused()
    caption.press_sequentially("green squ")
    caption.press("Escape")
    expect(dialog).to_have_count(0)
    expect(page.get_by_text("Saved the caption of green.png")).to_be_visible()
    for captioned in ("blue.png", "green.png"):
        expect(page.get_by_role("button", name=captioned, exact=True)).to_have_count(0)
    page.get_by_role("button", name="red.png", exact=True).click()
    caption.click()
    caption.press_sequentially("not this")
    dialog.get_by_role("button", name="Discard changes").click()
    expect(dialog).to_have_count(0)
    page.get_by_role("button", name="red.png", exact=True).click()
    expect(caption).to_have_value("")
    dialog.get_by_role("button", name="Delete image").click()
    page.get_by_role("button", name="Delete for good").click()
    expect(dialog).to_have_count(0)
    expect(page.get_by_role("button", name="white.png", exact=True)).to_be_visible()
    expect(page.get_by_role("button", name="red.png", exact=True)).to_have_count(0)
    assert all(url.startswith((dashboard.url, "data:", "blob:")) for url in requests)
