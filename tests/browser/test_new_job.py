"""The wizard in a real browser: on a phone, after a failure, with impatient clicks, reloads and Back."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from lib.jobs.job_request import JobRequest
from lib.jobs.training_settings import TrainingConfig
from lib.settings import Settings
from lib.sources.embedded.source import EmbeddedSource, open_embedded
from tests.browser.conftest import Dashboard, axe_violations
from tests.waiting import PATIENCE_MS, PATIENCE_S, wait_for

# What axe finds in Streamlit itself, by rule; nothing of ours is listed here.
# The grounds of .streamlit/config.toml: the page follows the system's scheme.
GROUNDS = {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 31)"}
STREAMLIT_RULES = {"aria-progressbar-name": "the name of st.progress is fixed; its text stands beside it"}


@pytest.fixture
def source(dashboard: Dashboard) -> Iterator[EmbeddedSource]:
    """The same data folder, seen without the browser."""
    embedded = open_embedded(Settings(data_dir=dashboard.data_dir))
    yield embedded
    embedded.close()


def ended_job(source: EmbeddedSource, name: str, status: str, config: TrainingConfig | None = None) -> str:
    """A job of the sample dataset that ended before it trained anything; the default configuration is the default."""
    config = config or source.configs.list()[0]
    job = source.create_job(
        JobRequest(
            name=name,
            dataset_id=source.datasets.list()[0].id,
            config_id=config.id,
            settings=config.settings,
            submission_id=f"submission of {name}",
        )
    )
    source.cancel_job(job.id)
    wait_for(lambda: source.get_job(job.id).status.is_terminal, "the job was not cancelled")
    with closing(sqlite3.connect(Path(source.data_dir, "lora.db"), timeout=30)) as database, database:
        database.execute("UPDATE jobs SET status = ? WHERE id = ?", (status, job.id))
    return job.id


def jobs_named(source: EmbeddedSource, name: str) -> list[str]:
    with closing(sqlite3.connect(Path(source.data_dir, "lora.db"), timeout=30)) as database:
        return [row[0] for row in database.execute("SELECT id FROM jobs WHERE name = ?", (name,))]


def step_is(page: Page, name: str) -> None:
    expect(page.get_by_role("heading", name=name)).to_be_visible()


def test_a_job_is_started_on_a_phone_with_impatient_fingers(
    browser: Browser, dashboard: Dashboard, source: EmbeddedSource
):
    phone = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page = phone.new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.goto(f"{dashboard.url}/new")
    step_is(page, "Select Dataset")
    expect(page.get_by_text("16 images")).to_be_visible()
    page.get_by_role("button", name="Next").tap()
    step_is(page, "Configure Training")
    page.get_by_label("Job name").fill("From a *phone*")
    page.get_by_role("spinbutton", name="Epochs").fill("1")
    page.get_by_role("button", name="Next").tap()
    step_is(page, "Review and Start")
    expect(page.get_by_role("row", name="Epochs 1 10")).to_be_visible()
    expect(page.get_by_role("button", name="Start training")).to_be_in_viewport(ratio=1)
    width = page.evaluate("document.scrollingElement.scrollWidth")
    assert width <= 390, "the page scrolls sideways"
    page.get_by_role("button", name="Start training").dblclick()
    page.wait_for_url("**/job?id=*")
    assert jobs_named(source, "From a *phone*") == [page.url.split("id=")[1]]
    phone.close()


def test_the_url_carries_the_draft_and_back_undoes(page: Page, dashboard: Dashboard):
    page.goto(f"{dashboard.url}/new?step=2&name=shared&learning_rate=0.5&epochs=oops")
    step_is(page, "Configure Training")
    expect(page.get_by_label("Job name")).to_have_value("shared")
    expect(page.get_by_role("spinbutton", name="Learning rate")).to_have_value("0.5")
    expect(page.get_by_text("cannot be used and were left out: epochs=oops")).to_be_visible()
    page.get_by_role("spinbutton", name="Batch size").fill("3")
    page.keyboard.press("Tab")
    page.wait_for_url("**batch_size=3*")
    page.reload()
    expect(page.get_by_role("spinbutton", name="Batch size")).to_have_value("3")
    page.get_by_role("button", name="Next").click()
    step_is(page, "Review and Start")
    page.go_back()
    step_is(page, "Configure Training")
    page.go_back()
    expect(page.get_by_role("spinbutton", name="Batch size")).to_have_value("2")


def test_a_failed_job_is_retried_with_another_learning_rate(page: Page, dashboard: Dashboard, source: EmbeddedSource):
    """From the failed job: three clicks and the change. Back and Next stay in sight, whatever is scrolled."""
    failed = ended_job(source, "broke", "failed")
    page.set_viewport_size({"width": 1280, "height": 800})
    page.goto(f"{dashboard.url}/job?id={failed}")
    page.get_by_role("link", name="Fix and retry").click()
    step_is(page, "Configure Training")
    expect(page.get_by_label("Job name")).to_have_value("broke (2)")
    page.get_by_role("spinbutton", name="Learning rate").fill("0.0005")
    for button in ("Back", "Next"):
        expect(page.get_by_role("button", name=button)).to_be_in_viewport(ratio=1)
    page.get_by_role("button", name="Next").click()
    step_is(page, "Review and Start")
    expect(page.get_by_role("row", name="Learning rate 0.0005")).to_be_visible()
    assert (
        page.evaluate("(main => main.scrollHeight - main.clientHeight)(document.querySelector('[data-testid=stMain]'))")
        <= 0
    )
    page.get_by_role("button", name="Start training").click()
    page.wait_for_url("**/job?id=*")
    (made,) = jobs_named(source, "broke (2)")
    job = source.get_job(made)
    assert job.settings["learning_rate"] == 0.0005
    assert job.retry_of is not None
    assert job.retry_of.id == failed
    assert job.settings["epochs"] == source.get_job(failed).settings["epochs"]
    # Back: the draft says that it was sent, and sends nothing again.
    page.go_back()
    expect(page.get_by_text("This was started already")).to_be_visible()
    assert jobs_named(source, "broke (2)") == [made]
    # A click on a step right after typing takes along what was typed.
    page.goto(f"{dashboard.url}/new?step=2")
    page.get_by_label("Job name").fill("typed and gone")
    page.get_by_role("radio", name="Review and Start").click()
    step_is(page, "Review and Start")
    expect(page.get_by_text("Job name: typed and gone")).to_be_visible()
    page.get_by_role("radio", name="Select Dataset").click()
    step_is(page, "Select Dataset")


def test_next_is_hit_though_the_page_just_heard_of_a_change(page: Page, dashboard: Dashboard):
    page.set_viewport_size({"width": 1280, "height": 1600})  # all of it: a new step scrolls to its top a moment later
    page.goto(f"{dashboard.url}/new?step=2&name=quick+hands")
    step_is(page, "Configure Training")
    page.get_by_role("spinbutton", name="Batch size").fill("3")
    # Pressing the button ends the typing; the answer comes before the button is let go, and must not move it.
    page.get_by_role("button", name="Next").hover()
    page.mouse.down()
    expect(page.get_by_text("Changed: the configuration says 2")).to_be_visible()
    page.mouse.up()
    step_is(page, "Review and Start")


def test_unsaved_changes_outlive_a_look_around_and_the_browser_asks_before_they_go(
    page: Page, dashboard: Dashboard, source: EmbeddedSource
):
    asked: list[str] = []
    page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.accept()))
    page.goto(f"{dashboard.url}/configs?id={source.configs.list()[0].id}")
    page.get_by_role("spinbutton", name="Epochs").fill("78")
    page.keyboard.press("Tab")
    expect(page.get_by_text("Unsaved changes: Epochs")).to_be_visible()
    page.get_by_role("link", name="Jobs").click()
    expect(page.get_by_role("heading", name="LoRA Training Jobs")).to_be_visible()
    page.get_by_role("link", name="Configurations").click()
    expect(page.get_by_text("Unsaved changes")).to_be_visible()
    page.go_back()
    page.go_back()
    expect(page.get_by_role("spinbutton", name="Epochs")).to_have_value("78")
    page.reload()
    expect(page.get_by_role("spinbutton", name="Epochs")).to_have_value("10")
    assert asked == ["beforeunload"]
    assert source.configs.list()[0].settings.epochs == 10


def open_list_with(page: Page, url: str, name: str) -> None:
    """Open a list that holds ``name``: what was made behind the dashboard's back shows once its shared read is over."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        page.goto(url)
        expect(page.get_by_text("Import a configuration from a file")).to_be_visible()
        if page.get_by_role("button", name=name).count():
            return
    raise AssertionError(f"{name} is not listed")


def test_a_finished_job_keeps_its_settings_when_its_configuration_changes(
    page: Page, dashboard: Dashboard, source: EmbeddedSource
):
    # A copy: the other tests of this file expect the default configuration as it is.
    config = source.configs.save(replace(source.configs.list()[0], id="", name="To be edited", is_default=False))
    finished = ended_job(source, "done", "succeeded", config)
    before = source.get_job(finished).settings
    open_list_with(page, f"{dashboard.url}/configs", config.name)
    page.get_by_role("button", name=config.name).click()
    page.wait_for_url(f"**/configs?id={config.id}")
    page.get_by_role("spinbutton", name="Epochs").fill("77")
    page.get_by_role("button", name="Save configuration").click()
    expect(page.get_by_text("Saved To be edited")).to_be_visible()
    page.get_by_role("button", name="All configurations").click()
    page.wait_for_url("**/configs")
    page.go_back()
    expect(page.get_by_role("spinbutton", name="Epochs")).to_have_value("77")
    assert source.configs.get(config.id).settings.epochs == 77
    assert source.get_job(finished).settings == before
    page.goto(f"{dashboard.url}/new?from={finished}&step=2")
    expect(page.get_by_role("spinbutton", name="Epochs")).to_have_value(str(before["epochs"]))
    expect(page.get_by_text("the configuration says 77")).to_be_visible()


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/new", "Open the dataset"),
        ("/new?step=2&epochs=3", "Changed: the configuration says"),
        ("/new?step=3&name=x&epochs=3&timeLimit=5", "What is different"),
        ("/datasets", "Dataset name"),
        ("/datasets?id={dataset}", "Upload images, captions or a zip"),
        ("/configs", "Import a configuration from a file"),
        ("/configs?id={config}", "Further options as TOML"),
    ],
)
def test_a_phone_and_a_desk_show_it_all_by_day_and_night_and_axe_finds_nothing(
    path: str, shown: str, page: Page, dashboard: Dashboard, source: EmbeddedSource
):
    ids = {"dataset": source.datasets.list()[0].id, "config": source.configs.list()[0].id}
    page.emulate_media(color_scheme="light")
    page.goto(dashboard.url + path.format(**ids))
    expect(page.get_by_text(shown).first).to_be_visible()
    expect(page.locator("[data-testid=stApp][data-test-script-state=notRunning]")).to_be_visible()
    # Colours depend on the scheme and places on the width: two visits see all four.
    for scheme, width in (("light", 1280), ("dark", 390)):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        page.set_viewport_size({"width": width, "height": 844})
        expect(page.get_by_test_id("stApp")).to_have_css("background-color", GROUNDS[scheme])
        expect(page.get_by_text(shown).first).to_be_visible()
        sideways = page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth - innerWidth")
        assert sideways <= 0, scheme
        found = axe_violations(page)
        assert {rule: nodes for rule, nodes in found.items() if rule not in STREAMLIT_RULES} == {}, scheme


@pytest.mark.parametrize("has_touch", [True, False], ids=["tap", "click"])
def test_a_link_is_followed_also_from_a_field_with_fresh_text(
    dashboard: Dashboard, browser: Browser, has_touch: bool
) -> None:
    """Down and up in the same moment, as a finger or a trackpad sends them."""
    context = browser.new_context(has_touch=has_touch, viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.goto(f"{dashboard.url}/configs?id={default_config(dashboard)}")
    seed = page.get_by_label("Seed", exact=True)
    expect(seed).to_be_visible()
    seed.fill("77")
    link = page.get_by_role("link", name="Datasets").first
    link.tap() if has_touch else link.click()
    expect(page.get_by_role("heading", name="Datasets", exact=True)).to_be_visible()
    page.wait_for_timeout(500)  # an answer that comes late would bring the old address back
    assert page.url == f"{dashboard.url}/datasets"
    page.go_back()
    expect(page.get_by_label("Seed", exact=True)).to_have_value("77")
    context.close()


def default_config(dashboard: Dashboard) -> str:
    with closing(open_embedded(Settings(data_dir=dashboard.data_dir))) as embedded:
        return next(config.id for config in embedded.configs.list() if config.is_default)
