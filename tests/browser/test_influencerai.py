"""The dashboard in front of a deployment and its store: a drill that stops both, the list, and a new job."""

import csv
import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Page, expect

from lib.artifacts.object_store import ObjectStore
from tests.artifacts.s3_server import BUCKET, KEY, SECRET, S3Server, s3_server
from tests.browser.conftest import Dashboard
from tests.sources.influencerai.api_server import EMAIL, PASSWORD, ApiServer, api_server, iso
from tests.waiting import wait_for

JOB = "cmwaria0001"
PREFIX = f"lora-training/{JOB}/"
STEPS = 40
NO_WAY = "The InfluencerAI API has no way to "


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """API and store, and the dashboard in front of them."""

    api: ApiServer
    s3: S3Server
    url: str

    def train(self, steps: int, at: datetime | None = None) -> None:
        """The worker's next write: the last 20 lines of its log, whether the API answers or not."""
        lines = [line(step) for step in range(max(1, steps - 19), steps + 1)]
        self.api.patch(JOB, "running", {"progress": {"stage": "running", "logs": lines}}, at=at)


@pytest.fixture(scope="module")
def deployment(
    tmp_path_factory: pytest.TempPathFactory, start_dashboard: Callable[..., Dashboard]
) -> Iterator[Deployment]:
    with api_server() as api, s3_server(tmp_path_factory.mktemp("deployment") / "s3") as s3:
        dashboard = start_dashboard(
            LORA_SOURCE="influencerai",
            INFLUENCERAI_API_URL=api.url,
            INFLUENCERAI_EMAIL=EMAIL,
            INFLUENCERAI_PASSWORD=PASSWORD,
            S3_ENDPOINT=s3.settings.endpoint,
            S3_BUCKET=BUCKET,
            S3_KEY=KEY,
            S3_SECRET=SECRET,
        )
        for status in ("succeeded", "failed"):
            add_job(api, status, f"An older one that {status}")
            api.patch(status, status, {"message": "kohya_ss exited with code 1"} if status == "failed" else {})
        add_job(api, JOB, "Aria v3")
        yield Deployment(api=api, s3=s3, url=dashboard.url)


def add_job(api: ApiServer, job_id: str, name: str) -> None:
    at = iso(datetime.now(UTC) - timedelta(minutes=5))
    api.add_job(job_id, payload={"trainingName": name}, createdAt=at, updatedAt=at)


def line(step: int) -> str:
    """What the trainer prints after a step."""
    return (
        f"steps: {step * 100 // STEPS:3d}%|##| {step}/{STEPS} "
        f"[00:{step:02d}<00:{STEPS - step:02d}, 1.00s/it, avr_loss=0.{99 - step}]"
    )


def test_api_and_store_stop_and_come_back_under_an_open_page(
    page: Page, deployment: Deployment, tmp_path: Path
) -> None:
    api, s3 = deployment.api, deployment.s3
    s3.put(f"{PREFIX}aria-000001.safetensors", b"first")
    deployment.train(8)
    page.goto(f"{deployment.url}/job?id={JOB}")
    expect(page.get_by_role("heading", name="Aria v3")).to_be_visible()
    expect(page.get_by_text("Training progress: 20%")).to_be_visible()
    log = page.get_by_role("region", name="Training logs")
    expect(log).to_contain_text(line(8))
    expect_refused(page, "cancel")
    page.get_by_role("radio", name="Files").click()
    expect(page.get_by_text("aria-000001.safetensors")).to_be_visible()

    api.stop()
    s3.stop()
    stale = page.get_by_text(re.compile("Could not refresh: .* Shown is the state of")).first
    expect(stale).to_contain_text("cannot be reached: the connection was refused")
    age = re.search("state of .* ago", stale.inner_text())
    assert age is not None
    expect(stale).not_to_contain_text(age[0])  # it grows
    expect(page.get_by_text("Training progress: 20%")).to_be_visible()
    with page.context.expect_page() as opened:
        page.get_by_role("link", name="Download", exact=True).click()
    expect(opened.value.get_by_role("heading", name="Download failed")).to_be_visible()
    opened.value.close()
    page.get_by_role("radio", name="Log").click()
    expect(log).to_contain_text(line(8))

    deployment.train(24)
    api.tokens.clear()  # a restarted deployment does not know those that it gave out
    api.start()
    s3.start()
    expect(page.get_by_text("Training progress: 60%")).to_be_visible()
    expect(stale).to_have_count(0)
    expect(page.get_by_text("Showing all 24 lines")).to_be_visible()
    for step in (1, 8, 9, 24):
        expect(log).to_contain_text(line(step))
    page.get_by_role("radio", name="Files").click()
    assert download(page) == ("aria-000001.safetensors", b"first")

    # The API's worker runs a failed job again by itself, seconds later: the page goes on looking.
    failed_at = datetime.now(UTC)
    api.patch(JOB, "failed", {"message": "kohya_ss exited with code 1"}, at=failed_at)
    expect(page.get_by_role("heading", name="Training failed")).to_be_visible()
    expect(page.get_by_text("Progress at failure: 60%")).to_be_visible()
    deployment.train(2, at=failed_at + timedelta(seconds=5))
    expect(page.get_by_text("Training progress: 5%")).to_be_visible()

    key = f"{PREFIX}aria.safetensors"
    s3.put(key, b"weights")
    files = [{"key": key, "url": expired_link(s3, key), "filename": "aria v3.pt"}]
    api.patch(JOB, "succeeded", {"artifacts": files}, at=failed_at + timedelta(seconds=9))
    expect(page.get_by_text("Final loss")).to_be_visible()
    expect(page.get_by_text("Training progress: 100%")).to_be_visible()
    expect(page.get_by_text("URL expired")).to_have_count(0)
    assert download(page) == ("aria v3.pt", b"weights")
    expect_refused(page, "delete")
    assert api.count("POST /jobs") == 0


def expect_refused(page: Page, action: str) -> None:
    """There is no button for it, and the menu says why."""
    page.get_by_role("button", name="…").click()
    expect(page.get_by_text(f"{NO_WAY}{action} a job")).to_be_visible()
    expect(page.get_by_role("button", name=action.capitalize(), exact=True)).to_have_count(0)
    page.keyboard.press("Escape")


def download(page: Page) -> tuple[str, bytes]:
    """Click the first Download button: the name and the bytes of the file."""
    with page.expect_download() as found:
        page.get_by_role("link", name="Download", exact=True).first.click()
    return found.value.suggested_filename, found.value.path().read_bytes()


def expired_link(s3: S3Server, key: str) -> str:
    """A link as the API freezes it into a job, after its time."""
    store = ObjectStore(s3.settings)
    url = store.sign(key, "frozen", timedelta(seconds=1)).url
    store.close()
    wait_for(lambda: requests.get(url, timeout=30).status_code != 200, "the link does not expire", poll_s=0.1)
    return url


def test_the_list_shows_the_jobs_and_a_new_one_is_posted_once(page: Page, deployment: Deployment) -> None:
    page.goto(f"{deployment.url}/jobs")
    expect(page.get_by_text("3 jobs")).to_be_visible()
    with page.expect_download() as table:
        page.get_by_role("button", name="Download CSV").click()
    rows = list(csv.DictReader(io.StringIO(table.value.path().read_text("utf-8-sig"))))
    names = {"Aria v3", "An older one that failed", "An older one that succeeded"}
    assert {row["name"] for row in rows} == names

    page.goto(f"{deployment.url}/new?name=Aria+v4")
    expect(page.get_by_role("heading", name="Select Dataset")).to_be_visible()
    page.get_by_role("button", name="Next").click()
    expect(page.get_by_role("heading", name="Configure Training")).to_be_visible()
    page.get_by_role("button", name="Next").click()
    expect(page.get_by_role("heading", name="Review and Start")).to_be_visible()
    page.get_by_role("button", name="Start training").dblclick()
    page.wait_for_url("**/job?id=*")
    expect(page.get_by_role("heading", name="Aria v4")).to_be_visible()
    expect(page.get_by_text("Waiting to start")).to_be_visible()
    assert deployment.api.count("POST /jobs$") == 1
    made = deployment.api.jobs[page.url.split("id=")[1]]
    assert made["payload"]["trainingName"] == "Aria v4"
    page.goto(f"{deployment.url}/jobs")
    expect(page.get_by_text("4 jobs")).to_be_visible()
