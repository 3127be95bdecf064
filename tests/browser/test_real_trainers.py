"""A person of kohya_ss starts a preset; a run that was started in a terminal is watched from the page."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Dashboard
from tests.replay_trainer import weights

PRESET = {
    "LoRA_type": "Standard",
    "pretrained_model_name_or_path": "owner/model",
    "epoch": 1,
    "learning_rate": 0.0003,
    "train_batch_size": 2,
    "network_dim": 8,
    "network_alpha": 4,
    "optimizer": "AdamW",
    "max_resolution": "512,512",
    "wandb_run_name": "old",
}
# Called as accelerate calls it, prints and writes as sd-scripts does.
TRAINER = """
import sys
from pathlib import Path
from tests.replay_trainer import weights
given = dict(each.removeprefix("--").split("=", 1) for each in sys.argv if each.startswith("--") and "=" in each)
print("steps: 100%|##########| 8/8 [00:04<00:00,  2.00it/s, avr_loss=0.0713]", flush=True)
path = Path(given["output_dir"], given["output_name"] + ".safetensors")
path.write_bytes(weights("fox", float(given["network_dim"])))
print("model saved.")
"""
LOG = b"epoch 1/1\nsteps:  50%|#####     | 4/8 [00:02<00:02,  2.00it/s, avr_loss=0.25]\r"
LOG += b"steps: 100%|##########| 8/8 [00:04<00:00,  2.00it/s, avr_loss=0.125]\nmodel saved.\n"


@pytest.fixture(scope="module")
def dashboard(start_dashboard: Callable[..., Dashboard], tmp_path_factory: pytest.TempPathFactory) -> Dashboard:
    folder = tmp_path_factory.mktemp("trainers").resolve()
    checkout, runs = folder / "sd-scripts", folder / "runs"
    python = checkout / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    (checkout / "train_network.py").write_text(TRAINER)
    python.write_text(
        f"#!{sys.executable}\nimport os, sys\nsys.path.insert(0, {str(Path.cwd())!r})\n"
        "place = next(n for n, each in enumerate(sys.argv) if each.endswith('train_network.py'))\n"
        "sys.argv = sys.argv[place:]\nexec(compile(open(sys.argv[0]).read(), sys.argv[0], 'exec'))\n"
    )
    python.chmod(0o755)
    run = runs / "fox"
    run.mkdir(parents=True)
    (run / "train.log").write_bytes(LOG)
    (run / "fox.safetensors").write_bytes(weights("fox", 1.0))
    (run / "sample").mkdir()
    (run / "sample" / "fox_e000001_00_20261129120000_42.mp4").write_bytes(b"")
    (folder / "fox.json").write_text(json.dumps(PRESET))
    return start_dashboard(folder / "data", SD_SCRIPTS_DIR=str(checkout), LORA_WATCH_DIRS=str(runs))


def test_a_preset_of_kohya_ss_is_imported_and_started(page: Page, dashboard: Dashboard) -> None:
    page.goto(f"{dashboard.url}/configs")
    page.get_by_text("Import a configuration from a file").click()
    page.locator("input[type=file]").set_input_files(dashboard.data_dir.parent / "fox.json")
    page.get_by_role("button", name="Import", exact=True).click()
    description = page.get_by_role("textbox", name="Description")
    expect(description).to_have_value("Imported from a preset. Not taken over: wandb_run_name.")
    page.get_by_role("link", name="Use this configuration").click()
    page.get_by_role("button", name="Next").click()
    page.get_by_role("textbox", name="Job name").fill("fox")
    page.get_by_role("button", name="Next").click()
    page.get_by_role("button", name="Start training").click()
    page.wait_for_url("**/job?id=*")
    download = page.get_by_role("link", name="Download").first
    expect(download).to_have_attribute("href", re.compile(r"/1/fox\.safetensors$"))
    expect(page.get_by_text("0.0713", exact=True)).to_be_visible()


def test_a_run_of_a_terminal_is_watched_from_the_page(page: Page, dashboard: Dashboard) -> None:
    page.goto(f"{dashboard.url}/jobs")
    page.get_by_role("button", name="Watch a run").click()
    place = dashboard.data_dir.parent / "runs" / "fox"
    page.get_by_role("textbox", name="Log file or folder").fill(str(place))
    page.get_by_role("button", name="Watch", exact=True).click()
    expect(page.get_by_text("1 run is watched.")).to_be_visible()
    page.get_by_test_id("stPopoverBody").get_by_role("link", name="fox").click()
    page.wait_for_url("**/job?id=*")
    expect(page.get_by_text("Watched: this run was started elsewhere")).to_be_visible()
    expect(page.get_by_text("0.125").first).to_be_visible()
    video = re.compile(r"/download/.*/1/sample/fox_e000001_00_\d+_42\.mp4\?inline=1$")
    expect(page.locator("video")).to_have_attribute("src", video)
    assert page.get_by_role("button", name="Cancel", exact=True).count() == 0
    assert sorted(path.name for path in place.iterdir()) == ["fox.safetensors", "sample", "train.log"]
