"""A training that is cancelled half-way goes on where it stopped."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from lib.jobs.job_request import JobRequest
from lib.jobs.training_settings import TrainingSettings
from lib.settings import Settings
from lib.sources.embedded.source import open_embedded
from tests.browser.conftest import Dashboard

# Many short epochs: it is cancelled after a few, and nobody waits for its end.
SETTINGS = TrainingSettings(
    trainer="tiny", epochs=400, batch_size=4, resolution=128, repeats=10, network_dim=4, network_alpha=2
)


@pytest.fixture
def job_url(tmp_path: Path, start_dashboard: Callable[..., Dashboard]) -> str:
    """The page of a job that the dashboard is about to train."""
    dashboard = start_dashboard(tmp_path / "data")
    source = open_embedded(Settings(data_dir=dashboard.data_dir))
    (dataset, *_) = source.datasets.list()
    request = JobRequest(name="Aria", dataset_id=dataset.id, config_id=None, settings=SETTINGS, submission_id="one")
    job = source.create_job(replace(request))
    source.close()
    return f"{dashboard.url}/job?id={job.id}"


def test_a_cancelled_training_goes_on_where_it_stopped(page: Page, job_url: str) -> None:
    page.goto(job_url)
    expect(page.get_by_text(re.compile(r"Epoch ([2-9]|\d\d+)/400")).first).to_be_visible(timeout=120_000)
    page.get_by_role("button", name="Cancel", exact=True).click()
    page.get_by_role("button", name="Cancel 1 job").click()
    expect(page.get_by_role("heading", name="Training cancelled")).to_be_visible()
    page.get_by_role("button", name="Continue", exact=True).first.click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text("The training goes on after epoch")).to_be_visible()
    confirm = dialog.get_by_role("button", name=re.compile("Continue from step"))
    found = re.search(r"step ([\d,]+)", confirm.inner_text())
    assert found is not None
    step = found[1]
    confirm.click()
    expect(page.get_by_text(f"The log confirms it: resumed at step {step}.")).to_be_visible(timeout=120_000)
    page.wait_for_function(
        "(first) => { const found = document.body.innerText.match(/Step ([\\d,]+)\\/16,?000/);"
        " return found && Number(found[1].replaceAll(',', '')) > first; }",
        arg=int(step.replace(",", "")),
    )
    expect(page.get_by_text(f"resumed at step {step}", exact=False).last).to_be_visible()
    expect(page.get_by_text(re.compile(r"Last .* · resumed at step"))).to_be_visible()
    page.get_by_role("button", name="Cancel", exact=True).click()
    page.get_by_role("button", name="Cancel 1 job").click()
    expect(page.get_by_role("heading", name="Training cancelled")).to_be_visible()
