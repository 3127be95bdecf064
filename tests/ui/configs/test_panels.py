"""What the configurations page says, as pure functions."""

import pytest

from lib.jobs.training_settings import TrainingConfig, TrainingSettings
from lib.ui.configs.panels import config_summary, copy_name, file_name


def test_a_copy_gets_a_name_of_its_own():
    assert copy_name("Quick", ["Quick"]) == "Quick (copy)"
    assert copy_name("Quick", ["quick", "QUICK (COPY)"]) == "Quick (copy 2)"
    assert len(copy_name("n" * 100, [])) == 100


def test_a_configuration_in_one_line():
    settings = TrainingSettings(base_model="model", epochs=1)
    assert config_summary(settings) == (
        "tiny · model · 1 epoch · learning rate 0.0001 · dim 16, alpha 8 · batch size 1 · 512 px"
    )
    assert config_summary(TrainingSettings(max_steps=2_000)).startswith("tiny · 2,000 steps · learning rate")


@pytest.mark.parametrize(("name", "stem"), [("SD 1.5 / fast", "SD-1-5---fast"), ("../..", "configuration")])
def test_an_exported_file_has_a_plain_name(name, stem):
    assert file_name(TrainingConfig(id="c", name=name, settings=TrainingSettings())) == f"{stem}.toml"
