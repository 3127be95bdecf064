"""A sweep from the wizard to its list: reviewed, started, compared, and what is left of it cancelled together."""

import re

from playwright.sync_api import Page, expect

from lib.jobs.training_settings import TrainingConfig, TrainingSettings
from lib.settings import Settings
from lib.sources.embedded.source import open_embedded
from tests.browser.conftest import Dashboard

# The first two of one epoch end at once; the others are cancelled before their end.
LONG = 1_000
SETTINGS = TrainingSettings(trainer="tiny", epochs=1, batch_size=16, resolution=128, network_dim=2, network_alpha=1)


def test_a_sweep_is_started_compared_and_cancelled_together(page: Page, dashboard: Dashboard) -> None:
    source = open_embedded(Settings(data_dir=dashboard.data_dir))
    config = source.configs.save(TrainingConfig(id="", name="Short", settings=SETTINGS))
    (dataset, *_) = source.datasets.list()
    source.close()
    page.goto(f"{dashboard.url}/new?step=2&datasetId={dataset.id}&configId={config.id}&name=aria&epochs=1,{LONG}")
    ranks = page.get_by_role("combobox", name="Try several values of")
    ranks.click()
    page.get_by_role("option", name="Network dim (rank)").click()
    page.keyboard.press("Escape")
    page.get_by_role("textbox", name="Network dim (rank), several").fill("2, 4")
    page.get_by_role("button", name="Next").click()
    expect(page.get_by_text("Jobs: 4, one for each combination")).to_be_visible()
    page.get_by_role("button", name="Start 4 trainings").click()
    page.wait_for_url("**/jobs?sweep=*")
    expect(page.get_by_text(re.compile(r"Sweep aria, 4 jobs: .*2 succeeded"))).to_be_visible()
    page.get_by_test_id("stMain").get_by_role("link", name="Compare", exact=True).click()
    page.wait_for_url("**/compare?ids=*")
    expect(page.get_by_role("heading", name="Compare jobs")).to_be_visible()
    page.go_back()
    page.wait_for_url("**/jobs?sweep=*")
    page.get_by_role("button", name=re.compile("^Cancel")).first.click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel 2 jobs").click()
    expect(page.get_by_text("Sweep aria, 4 jobs: 2 succeeded, 2 cancelled")).to_be_visible()
