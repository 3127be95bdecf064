"""The configuration's page can try whether a trainer starts: a visible wait, then its versions or what is wrong."""

import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from lib import services
from lib.jobs.trainer_check import TrainerCheck
from lib.jobs.training_settings import TrainingConfig, TrainingSettings
from lib.sources.embedded.source import EmbeddedSource
from lib.ui.parts.trainer_check import facts_text
from tests.contract.houses import IdleLauncher
from tests.pages.reading import button, labels, plain, texts
from tests.waiting import wait_for

pytestmark = pytest.mark.slow


def test_a_trainer_is_checked_and_one_that_is_broken_says_why(
    open_page: Callable[..., AppTest], tmp_path: Path
) -> None:
    checkout, data = tmp_path / "sd-scripts", tmp_path / "data"
    script = checkout / "train_network.py"
    (checkout / "venv" / "bin").mkdir(parents=True)
    script.write_text("import argparse\nargparse.ArgumentParser().parse_args()\n")
    (checkout / "venv" / "bin" / "python").symlink_to(sys.executable)
    paths = {"SD_SCRIPTS_DIR": checkout}
    settings = TrainingSettings(trainer="sd-scripts", base_model="owner/model")
    with closing(EmbeddedSource(data, launcher=IdleLauncher(data), trainer_paths=paths)) as source:
        services.connect(source)
        config = source.configs.save(TrainingConfig(id="", name="SD", settings=settings))
        app = open_page("configs", id=config.id)

        def checked() -> str:
            button(app, "Check sd-scripts").click().run()
            wait_for(lambda: not (source.trainer_check(settings) or TrainerCheck(is_running=True)).is_running, "no end")
            return texts(app.run())

        said = checked()
        assert [plain(each.value).partition(" It took")[0] for each in app.success] == ["sd-scripts starts."], said
        assert "Version unknown: the folder is no git checkout" in said
        script.write_text("raise RuntimeError('needs <b>torch</b> 2.4')\n")
        said = checked()
        assert "its train_network.py ended with exit code 1" in said
        assert "needs <b>torch</b> 2.4" in app.code[0].value

        tiny = source.configs.save(replace(config, id="", name="Tiny", settings=replace(settings, trainer="tiny")))
        assert not any(label.startswith("Check") for label in labels(open_page("configs", id=tiny.id)))


def test_what_is_known_is_one_line() -> None:
    check = TrainerCheck(facts={"Version": "48d368f (main)", "torch": "2.7.1"})
    assert facts_text(check) == "Version 48d368f (main) · torch 2.7.1"
