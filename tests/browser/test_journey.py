"""The journey: from an empty machine to a trained LoRA, downloaded in the browser."""

import csv
import io
import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from safetensors import safe_open

from tests.browser.conftest import Dashboard

NAME = "Ария v1 *first*"
# Three epochs train for about twenty seconds on two quiet cores; here others may be at work beside them.
EPOCHS = 3
TRAINING_DEADLINE_MS = 300_000


@pytest.mark.timeout(420)
def test_from_an_empty_folder_to_a_downloaded_lora(
    page: Page, browser: Browser, dashboard: Dashboard, tmp_path: Path
) -> None:
    page.goto(dashboard.url)
    page.get_by_role("link", name="New Training Job").first.click()
    start_training(page)
    job_url = page.url
    watch_it_train(page)
    expect(page.get_by_text("Succeeded").first).to_be_visible(timeout=TRAINING_DEADLINE_MS)
    check_download(page, tmp_path)
    check_list(page, dashboard)
    other = browser.new_page()
    for url, text in ((job_url, "Succeeded"), (f"{dashboard.url}/jobs", "1 job")):
        other.goto(url)
        expect(other.get_by_text(text).first).to_be_visible()
    other.close()


def start_training(page: Page) -> None:
    expect(page.get_by_text("Select Dataset").first).to_be_visible()
    expect(page.get_by_text("16 images").first).to_be_visible()
    page.get_by_role("button", name="Next").click()
    page.get_by_label("Job name").fill(NAME)
    page.get_by_label("Job name").press("Tab")
    page.get_by_label("Epochs", exact=True).fill(str(EPOCHS))
    page.get_by_label("Epochs", exact=True).press("Tab")
    page.get_by_role("button", name="Next").click()
    expect(page.get_by_role("heading", name="Review and Start")).to_be_in_viewport()
    page.get_by_role("button", name="Start training").click()
    page.wait_for_url(re.compile(r"/job\?id="))
    expect(page.get_by_role("heading", name=NAME)).to_be_in_viewport()


def watch_it_train(page: Page) -> None:
    """Step and log move without a click."""
    expect(page.get_by_text(re.compile(r"Step \d[\d,]*/\d")).first).to_be_visible()
    first = steps_shown(page)
    page.wait_for_function(
        "(first) => { const found = document.body.innerText.match(/Step ([\\d,]+)\\/[\\d,]+/);"
        " return found && Number(found[1].replaceAll(',', '')) > first; }",
        arg=first,
    )
    expect(page.get_by_text(re.compile(rf"Epoch \d+/{EPOCHS}")).first).to_be_visible()
    expect(page.get_by_text("running training").first).to_be_visible()


def steps_shown(page: Page) -> int:
    found = re.search(r"Step ([\d,]+)/", page.locator("body").inner_text())
    assert found is not None
    return int(found[1].replace(",", ""))


def check_download(page: Page, folder: Path) -> None:
    with page.expect_download() as download:
        page.get_by_role("link", name=re.compile("^Download")).first.click()
    file = folder / download.value.suggested_filename
    assert file.suffix == ".safetensors"
    download.value.save_as(file)
    with safe_open(file, framework="numpy") as lora:
        metadata = lora.metadata()
        down = next(key for key in lora.keys() if key.endswith("lora_down.weight"))  # noqa: SIM118
        rank = lora.get_tensor(down).shape[0]
        alpha = float(lora.get_tensor(down.replace("lora_down.weight", "alpha")))
    assert rank == int(metadata["ss_network_dim"])
    assert alpha == float(metadata["ss_network_alpha"])
    assert int(metadata["ss_steps"]) > 0


def check_list(page: Page, dashboard: Dashboard) -> None:
    page.goto(f"{dashboard.url}/jobs")
    expect(page.get_by_text("1 job").first).to_be_visible()
    # The table is drawn on a canvas that shows no text to a test; the file beside it has the same rows.
    with page.expect_download() as download:
        page.get_by_role("button", name="Download CSV").first.click()
    rows = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text("utf-8"))))
    assert [(row["name"], row["status"], float(row["progress"])) for row in rows] == [(NAME, "succeeded", 1.0)]
