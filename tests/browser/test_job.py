"""The monitor in a real browser: a job to its end, retry, ten ticks that disturb nothing, phone, foreign text, axe."""

import re
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Locator, Page, expect
from safetensors.numpy import save

from lib.jobs.job_request import JobRequest
from lib.jobs.training_settings import TrainingSettings
from lib.sources.embedded.source import EmbeddedSource
from tests.artifacts.lora.files import pair
from tests.browser.conftest import Dashboard, axe_violations
from tests.waiting import PATIENCE_S

# What axe finds in Streamlit itself, by rule; nothing of ours is listed here.
STREAMLIT_RULES = {
    "landmark-unique": "top navigation and header use the same landmark",
    "region": "the toolbar lies outside all landmarks",
    "landmark-one-main": "stMain is a section",
    "aria-progressbar-name": "the name of st.progress is fixed; its text stands beside it",
}
STATES = ("waiting", "run", "silent", "done", "failed", "cancelled", "lost", "odd", "frozen", "hostile")
Steer = Callable[[str], int]


@pytest.fixture(scope="module")
def monitor(start_dashboard: Callable[..., Dashboard]) -> Dashboard:
    """A dashboard over a source that the tests steer."""
    return start_dashboard(script="tests/browser/monitor_home.py")


@pytest.fixture
def steer(monitor: Dashboard) -> Steer:
    """``steer("fail")`` changes the source; every test begins anew."""

    def steer(what: str) -> int:
        with urllib.request.urlopen(f"{monitor.url}/steer?do={what}", timeout=PATIENCE_S) as answer:
            return int(answer.read())

    steer("refill")
    return steer


def open_job(page: Page, dashboard: Dashboard, job_id: str, more: str = "") -> None:
    page.goto(f"{dashboard.url}/job?id={job_id}{more}")
    expect(page.get_by_role("radiogroup", name="View")).to_be_visible()


def go_on_to(page: Page, job_id: str) -> None:
    """To another job as Back and Forward go: without loading the page anew."""
    page.evaluate(
        "id => { history.pushState({}, '', `/job?id=${id}`); dispatchEvent(new PopStateEvent('popstate')); }", job_id
    )
    expect(page.locator(".st-key-breadcrumb").get_by_text(job_id, exact=True)).to_be_visible()


def show_view(page: Page, name: str) -> None:
    page.get_by_role("radio", name=name).click()
    expect(page).to_have_url(re.compile(f"view={name.lower()}"))


def expect_on_first_screen(page: Page, *parts: Locator) -> None:
    """All of it, without scrolling."""
    for part in parts:
        expect(part).to_be_in_viewport(ratio=1)


def wait_for_ticks(page: Page, steer: Steer, count: int) -> None:
    """Until the page has drawn its moving part that often again."""
    wanted, deadline = steer("ticks") + count, time.monotonic() + PATIENCE_S
    while steer("ticks") < wanted:
        assert time.monotonic() < deadline, "the page does not tick"
        page.wait_for_timeout(100)


def test_a_real_job_fails_is_retried_and_seen_to_its_end(page: Page, dashboard: Dashboard) -> None:
    page.goto(f"{dashboard.url}/datasets")  # the first visit makes the sample dataset
    expect(page.get_by_text("16 images").first).to_be_visible()
    source = EmbeddedSource(dashboard.data_dir)
    image = sorted((dashboard.data_dir / "datasets").rglob("*.png"))[0]
    whole = image.read_bytes()
    image.write_bytes(whole[:40])
    job = source.create_job(short_training(source.datasets.list()[0].id))
    open_job(page, dashboard, job.id)
    expect(page.get_by_role("heading", name="Training failed")).to_be_visible()
    expect(page).to_have_title("Failed · Retry me")

    image.write_bytes(whole)
    page.get_by_role("button", name="…").click()
    page.get_by_role("button", name="Retry", exact=True).click()
    expect(page.get_by_text("Final loss")).to_be_visible()
    expect(page).to_have_title("Succeeded · Retry me")
    expect(page.get_by_text("Training progress: 100%")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download", exact=True).first.click()
    assert download.value.suggested_filename.endswith(".safetensors")
    sample = page.get_by_role("img", name="Sample of epoch 3: a test", exact=True).first
    page.wait_for_function("image => image.complete && image.naturalWidth > 0", arg=sample.element_handle())

    page.get_by_label("Attempt").click()
    page.get_by_role("option", name="Attempt 1: failed").click()
    expect(page.get_by_role("heading", name="Training failed")).to_be_visible()
    expect(page).to_have_url(re.compile("attempt=1"))


def short_training(dataset_id: str) -> JobRequest:
    settings = TrainingSettings(epochs=3, resolution=128, network_dim=4, sample_prompts=("a test",), repeats=1)
    return JobRequest(name="Retry me", dataset_id=dataset_id, config_id=None, settings=settings, submission_id="once")


def test_ten_ticks_disturb_nothing(page: Page, monitor: Dashboard, steer: Steer) -> None:
    page.set_viewport_size({"width": 1280, "height": 800})
    open_job(page, monitor, "run")
    expect_on_first_screen(
        page,
        page.get_by_role("heading", name="Aria run"),
        page.get_by_role("button", name="Cancel"),
        page.get_by_text("Training progress: 42%"),
        page.get_by_text("Estimated time remaining"),
        page.locator("[data-testid=stVegaLiteChart]"),
        page.get_by_role("img", name="Sample of epoch 4: a red fox").first,
    )
    log = page.get_by_role("region", name="Training logs")
    at_end = "log => log.scrollHeight - log.scrollTop - log.clientHeight < 40"
    page.wait_for_function(at_end, arg=log.element_handle())
    expect(page).to_have_title("42% · Aria run")
    steer("step")
    expect(log.get_by_text("line 349:")).to_be_visible()
    expect(page.get_by_text("Showing last 100 of 350 lines")).to_be_visible()
    page.wait_for_function(at_end, arg=log.element_handle())

    log.hover()
    page.mouse.wheel(0, -2_000)
    page.wait_for_function("log => log.scrollTop === 0", arg=log.element_handle())
    find = page.get_by_label("Find in log")
    find.fill("half typ")
    steer("step")
    expect(page.get_by_text("Step 482/2000")).to_be_visible()
    expect(find).to_be_focused()

    page.get_by_role("button", name="Cancel", exact=True).click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("button", name="Keep running")).to_be_visible()
    wait_for_ticks(page, steer, 10)
    assert dialog.get_by_role("button", name="Keep running").is_visible()
    assert find.input_value() == "half typ"
    assert log.evaluate("log => log.scrollHeight - log.scrollTop - log.clientHeight") > 100


def test_polling_ends_with_the_job_and_begins_with_it_again(page: Page, monitor: Dashboard, steer: Steer) -> None:
    open_job(page, monitor, "run")
    expect(page.get_by_text("Training progress: 42%")).to_be_visible()
    steer("fail")
    expect(page.get_by_text(re.compile("Could not refresh: .* Shown is the state of")).first).to_be_visible()
    expect(page.get_by_text("Training progress: 42%")).to_be_visible()
    expect(page.get_by_role("button", name="Refresh now")).to_be_visible()
    steer("recover")
    expect(page.get_by_text("Could not refresh")).to_have_count(0)
    steer("failed")
    expect(page.get_by_role("heading", name="Training failed")).to_be_visible()
    fix = page.get_by_role("link", name="Fix and retry")
    expect(fix).to_have_attribute("href", re.compile(r"new\?from=run&step=2&mark=batch_size%2Cresolution"))
    expect(page.locator("iframe[title*=autorefresh]")).to_have_count(1)
    steer("succeeded")
    page.reload()
    expect(page.get_by_text("Final loss")).to_be_visible()
    expect(page.locator("iframe[title*=autorefresh]")).to_have_count(0)
    steer("running")
    page.reload()
    expect(page.get_by_text("Training progress: 1%")).to_be_visible()
    wait_for_ticks(page, steer, 2)


def test_the_log_can_be_searched_copied_and_downloaded(page: Page, monitor: Dashboard, steer: Steer) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    open_job(page, monitor, "run", "&view=logs")
    page.get_by_label("Find in log").fill("LINE 33")
    page.get_by_label("Find in log").press("Enter")
    expect(page.get_by_text("11 lines found. Search complete")).to_be_visible()
    page.get_by_role("button", name="Copy as text").click()
    expect(page.get_by_label("Log lines")).to_have_value(re.compile("^line 0: .*line 339: .*", re.DOTALL))
    page.get_by_role("button", name="Copy all").click()
    assert page.evaluate("navigator.clipboard.readText()").count("line ") == 340
    page.keyboard.press("Escape")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download full log").click()
    assert download.value.suggested_filename == "run-attempt-1.log"
    assert download.value.path().read_bytes().count(b"\n") == 340
    page.get_by_label("Log scale").focus()
    page.keyboard.press("Space")
    expect(page.get_by_role("switch", name="Log scale")).to_be_checked()


def test_a_view_is_kept_in_the_url_and_samples_open_in_full_size(page: Page, monitor: Dashboard, steer: Steer) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    open_job(page, monitor, "odd")
    log = page.get_by_role("region", name="Training logs")
    expect(log.get_by_text("as wide as a trainer may print")).to_be_attached()
    heights = log.evaluate(
        """log => [...log.querySelectorAll('code')].map(
            code => code.getBoundingClientRect().height / code.textContent.trimEnd().split('\\n').length)"""
    )
    assert max(heights) < 1.5 * min(heights), "no line takes two"
    assert log.evaluate("log => log.scrollWidth > log.clientWidth + 200"), "it scrolls sideways"
    page.get_by_text("Wrap lines").click()
    page.wait_for_function(
        "() => (log => log.scrollWidth <= log.clientWidth)(document.querySelector('.st-key-log-lines'))"
    )

    go_on_to(page, "run")
    show_view(page, "Samples")
    expect(page.get_by_role("region", name="Training logs")).to_have_count(0)
    picture = page.get_by_role("img", name="Sample of epoch 3: a red fox")
    picture.click()
    viewer = page.get_by_role("dialog", name="Sample in full size")
    for key, epoch in (("", 3), ("ArrowRight", 2), ("ArrowLeft", 3), ("ArrowLeft", 4)):
        if key:
            page.keyboard.press(key)
        expect(viewer.get_by_text(f"Sample of epoch {epoch}: a red fox")).to_be_visible()
    wait_for_ticks(page, steer, 3)
    page.keyboard.press("Escape")
    expect(viewer).to_be_hidden()
    page.get_by_role("button", name="…").click()
    page.get_by_role("button", name="Copy ID").click()
    expect(page.get_by_text("Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == "run"
    page.go_back()
    expect(page.get_by_role("radio", name="Log")).to_be_checked()
    expect(page.get_by_role("region", name="Training logs")).to_be_visible()


def test_times_go_on_while_the_page_of_an_ended_job_is_open(page: Page, monitor: Dashboard, steer: Steer) -> None:
    open_job(page, monitor, "done", "&view=details")
    finished = page.get_by_text("29 minutes ago")
    expect(finished).to_be_visible()
    finished.evaluate("time => { time.dateTime = new Date(Date.now() - 45 * 60_000).toISOString(); }")
    expect(page.get_by_text("45 minutes ago")).to_be_visible()


def test_every_state_on_a_phone_without_fetching_anything(page: Page, monitor: Dashboard, steer: Steer) -> None:
    outside: list[str] = []
    page.on("request", lambda asked: outside.append(asked.url) if "evil.test" in asked.url else None)
    page.set_viewport_size({"width": 390, "height": 844})
    for scheme, states in (("light", STATES), ("dark", ("failed",))):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        open_job(page, monitor, states[0])
        for job_id in states:
            go_on_to(page, job_id)
            expect(page.locator("[data-testid=stSkeleton], [data-stale=true]")).to_have_count(0)
            if job_id == "run":
                expect_on_first_screen(
                    page,
                    page.get_by_role("heading", name="Aria run"),
                    page.get_by_role("button", name="Cancel"),
                    page.get_by_text("Training progress: 42%"),
                    page.get_by_text("30m 30s"),
                    page.get_by_text("0.0812", exact=True),
                    page.get_by_role("img", name="Sample of epoch 4: a red fox").first,
                )
            width = page.locator("[data-testid=stMain]").evaluate("main => main.scrollWidth")
            assert width <= 390, job_id
            found = {rule: nodes for rule, nodes in axe_violations(page).items() if rule not in STREAMLIT_RULES}
            assert found == {}, (job_id, scheme)
    assert outside == []


def test_a_lora_is_inspected_from_its_job_from_outside_and_on_a_phone(
    page: Page, monitor: Dashboard, steer: Steer, tmp_path: Path
) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    open_job(page, monitor, "done")
    expect(page.locator("iframe[title*=autorefresh]")).to_have_count(0)
    page.get_by_role("main").get_by_role("link", name="Inspect").first.click()
    expect(page.get_by_role("heading", level=1, name=re.compile("aria"))).to_be_visible()
    expect(page).to_have_url(re.compile("/inspect[?]job=done&artifact="))
    page.get_by_role("button", name="Compute norms").click()
    expect(page.get_by_text("Norm of the whole change: 0.4608")).to_be_visible()

    hostile = tmp_path / "outside.safetensors"
    phrase = "![](http://evil.test/w.png) <img src=http://evil.test/i.png>"
    hostile.write_bytes(
        save(pair("lora_unet_a") | {"lora_unet_a.alpha": np.array(2, np.float32)}, {"modelspec.trigger_phrase": phrase})
    )
    page.set_viewport_size({"width": 390, "height": 844})
    page.get_by_text("Inspect another file").click()
    page.get_by_label("A file of this computer").set_input_files(hostile)
    expect(page.get_by_role("heading", level=1, name="outside.safetensors")).to_be_visible()
    expect(page).to_have_url(f"{monitor.url}/inspect")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="<img src=http://evil.test/i.png>").click()
    assert page.evaluate("navigator.clipboard.readText()") == phrase
    expect(page.get_by_text("Effective scale").locator("xpath=../..")).to_contain_text("0.5")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert [url for url in asked if "evil.test" in url] == []
    assert axe_violations(page).keys() <= STREAMLIT_RULES.keys()


def test_the_best_checkpoint_is_found_picked_and_downloaded_on_a_phone(
    page: Page, monitor: Dashboard, steer: Steer
) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"{monitor.url}/inspect?job=done")
    page.get_by_role("button", name="aria-000003.safetensors").click()
    expect(page).to_have_url(re.compile("artifact=1%2Faria-000003"))
    page.get_by_text("Compare with the other checkpoints of this job").click()
    page.get_by_role("button", name=re.compile("Compute norms of . checkpoints")).click()
    expect(page.get_by_text("Norm 0.3072, no NaN")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert axe_violations(page).keys() <= STREAMLIT_RULES.keys()
    page.get_by_role("button", name="Epoch 4: aria-000004.safetensors").click()
    expect(page.get_by_role("heading", level=1, name="aria-000004.safetensors")).to_be_visible()
    expect(page).to_have_url(re.compile("artifact=1%2Faria-000004"))
    page.get_by_role("button", name="☆").click()
    expect(page.get_by_role("button", name="★")).to_be_visible()
    page.get_by_role("link", name="Job Aria done").click()
    expect(page.get_by_role("heading", level=1, name="Aria done")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("main").get_by_role("link", name="Download").first.click()
    assert download.value.suggested_filename == "aria-000004.safetensors"
