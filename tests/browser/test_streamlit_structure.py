"""browser.js and browser.css lean on how Streamlit builds its pages: an upgrade that changes it fails here, by name."""

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from lib.sources.embedded.source import EmbeddedSource
from lib.ui.parts import browser as browser_side
from tests.browser.conftest import Dashboard

# Selector -> why we need it to match there.
ON_THE_LIST = {
    "[class*=st-key-browser-]": "the script is there, and hidden",
    "[data-testid=stMain]": "what scrolls",
    "[data-testid=stApp]": "figures of one width",
    "[data-testid=stMainBlockContainer]": "width and gutters",
    "[data-testid=stToolbar]:has([data-testid=stTopNav])": "begins where the page does",
    "[data-testid=stBottom] [data-testid=stBottomBlockContainer]": "as wide as the page; nothing when it is empty",
    "[data-testid=stVerticalBlock] > [data-testid=stElementContainer]": "gap above a section",
    "[data-testid=stHeading] [data-testid=stMarkdownContainer] h1": "no padding of its own",
    "[class*=st-key-primary-link] [data-testid=stPageLink]": "a filled link",
    "[data-testid=stTopNavLink]": "focus ring",
    "[data-testid=stPageLink-NavLink]": "focus ring",
}
IN_THE_TABLE = {
    "[data-testid=stButtonGroup] [aria-pressed=true] p": "contrast of a chosen chip",
    ".st-key-job-table [class*=st-key-job-names] > [data-testid=stElementContainer]": "a name over each cell",
    "[class*=st-key-job-names] [data-testid=stPageLink] > div > a": "a link over each name",
    ".st-key-job-names-second": "behind the samples",
    ".st-key-job-table [data-testid=stElementToolbar]": "no search and download of one page",
}
ON_A_PHONE = {"[data-testid=stSidebarNavLink]": "focus ring"}
ON_THE_DATASETS = {"[data-testid=stBaseButton-tertiary] p > strong:only-child": "the title of a card"}
ON_A_DATASET = {
    "[class*=st-key-small-pictures] [data-testid=stElementToolbar]": "no full screen of thumbnails",
    "[class*=st-key-small-pictures] [data-testid=stImage] img": "one height",
}
IN_THE_IMAGE_DIALOG = {
    "[role=dialog] [class*=st-key-caption-]": "Escape after typing",
    "[class*=st-key-caption-turned-] textarea": "the focus after Next",
}
ON_A_JOB = {
    "[data-testid=stButtonGroup] [aria-checked=true] p": "contrast of a chosen view",
    "[data-testid=stElementContainer]:has(iframe[title*=autorefresh])": "takes no room",
    ".st-key-breadcrumb [data-testid=stPageLink-NavLink] p": "smaller than the text",
    "[data-testid=stTopNavLink] [data-testid=stIconMaterial]": "links without an icon are as large as the text",
    "[class*=st-key-small-pictures-samples] a:has(> img)": "opens in full size",
    ".st-key-log-on-one-line .st-key-log-lines > [data-testid=stElementContainer]": "scrolls sideways as a whole",
    ":has(> .st-key-log-lines)": "as high as the window allows",
    ".st-key-log-lines[role=region]": "the area with a name",
    ".st-key-log-lines [data-testid=stCode] > div": "one text",
    ".st-key-log-lines pre code": "one text",
    ".st-key-log-lines button": "no button per piece",
    ".st-key-copied-lines textarea": "lines to copy",
    ".st-key-copied-lines-all button": "copies them",
}
ON_A_LORA = {
    ".st-key-lora-settings td": "long values are broken",
    ".st-key-lora-folders td": "long names are broken",
}
IN_THE_MENU_OF_A_JOB = {"[class*=st-key-copy-job-]": "copies", ".st-key-copy-job-id": "copies the id"}
# There for a moment only; test_a_name_leads_to_the_job_and_one_step_back_to_the_list needs the first.
PASSING = {
    ".st-key-way-on a": "a link that clicks itself",
    "[data-testid=stDataFrameColumnMenu]": "no sorting of one page",  # test_a_header_sorts_the_whole_list needs it
}


def parts(text: str) -> set[str]:
    """The names of Streamlit's that a text with selectors uses: test ids and widget keys."""
    return set(re.findall(r"data-testid=[\w-]+|st-key-[\w-]*\w", text))


def test_every_selector_of_script_and_styles_is_named_here() -> None:
    file = Path(browser_side.__file__)
    used = parts(file.with_suffix(".js").read_text("utf-8")) | parts(file.with_suffix(".css").read_text("utf-8"))
    tables = (
        ON_THE_LIST,
        ON_A_PHONE,
        ON_THE_DATASETS,
        ON_A_DATASET,
        IN_THE_IMAGE_DIALOG,
        ON_A_JOB,
        ON_A_LORA,
        IN_THE_MENU_OF_A_JOB,
        IN_THE_TABLE,
        PASSING,
    )
    assert used == parts(" ".join(selector for table in tables for selector in table))


def expect_all(page: Page, selectors: dict[str, str]) -> None:
    for selector, why in selectors.items():
        expect(page.locator(selector).first, f"{selector}: {why}").to_be_attached()


@pytest.fixture(scope="module")
def monitor(start_dashboard: Callable[..., Dashboard]) -> Dashboard:
    return start_dashboard(script="tests/browser/monitor_home.py")


def test_the_list_and_the_phone(page: Page, dashboard: Dashboard) -> None:
    page.goto(f"{dashboard.url}/jobs")
    expect_all(page, ON_THE_LIST)
    assert page.locator("[class*=st-key-browser-]").first.is_hidden()
    page.set_viewport_size({"width": 390, "height": 844})
    expect_all(page, ON_A_PHONE)


def test_a_dataset_and_its_image_dialog(page: Page, dashboard: Dashboard) -> None:
    page.goto(f"{dashboard.url}/datasets")
    expect_all(page, ON_THE_DATASETS)
    page.get_by_role("button", name="Sample").first.click()
    page.get_by_role("button", name=re.compile(r"\.png$")).first.click()
    page.get_by_role("dialog").get_by_role("button", name="Next").click()
    expect_all(page, IN_THE_IMAGE_DIALOG)
    page.keyboard.press("Escape")
    expect_all(page, ON_A_DATASET)


def test_a_job(page: Page, monitor: Dashboard) -> None:
    page.request.get(f"{monitor.url}/steer?do=refill")
    page.goto(f"{monitor.url}/jobs")
    expect_all(page, IN_THE_TABLE)
    page.goto(f"{monitor.url}/job?id=run")
    page.get_by_role("button", name="…").click()
    expect_all(page, IN_THE_MENU_OF_A_JOB)
    page.get_by_role("button", name="Copy as text").click()
    expect_all(page, ON_A_JOB)
    page.goto(f"{monitor.url}/inspect?job=done&artifact=1/aria.safetensors")
    expect_all(page, ON_A_LORA)


def test_a_server_that_is_gone_is_said_and_found_again(
    page: Page, dashboard: Dashboard, start_dashboard: Callable[..., Dashboard]
) -> None:
    page.goto(f"{dashboard.url}/datasets")
    field, notice = page.get_by_label("Dataset name"), page.locator("#connection-notice[role=status]")
    expect(field).to_be_enabled()
    page.evaluate("addEventListener('message', ({ data }) => { window.told ||= data.type === 'CLIENT_ERROR_DIALOG'; })")
    field.press_sequentially("half typ")
    os.killpg(dashboard.process.pid, signal.SIGKILL)
    dashboard.process.wait()
    expect(notice).to_have_text(re.compile(r"^Connection lost, trying again; numbers as of \d\d:\d\d:\d\d$"))
    page.wait_for_function("window.told")  # when Streamlit would show its dialog
    expect(page.get_by_role("dialog")).to_have_count(0)

    EmbeddedSource(dashboard.data_dir).datasets.create("made meanwhile")
    port = int(dashboard.url.rsplit(":", 1)[1])
    start_dashboard(dashboard.data_dir, port=port)
    expect(notice).to_be_empty()
    expect(page.get_by_role("button", name="made meanwhile")).to_be_visible()
    expect(field).to_have_value("half typ")
    expect(field).to_be_focused()
