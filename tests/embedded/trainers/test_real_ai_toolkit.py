"""The real ai-toolkit trains a tiny random Stable Diffusion 1.5 with the recipe's file, and goes on from what it left.

Only where ``REAL_AI_TOOLKIT_DIR`` (a checkout) and ``REAL_AI_TOOLKIT_PYTHON`` (its environment, without triton where
there is no card) are given; it takes minutes.
"""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from lib.embedded.trainers.ai_toolkit import AiToolkitRecipe
from lib.embedded.trainers.model_files import ModelFiles
from lib.embedded.trainers.recipe import EndedRun, TrainingRun
from lib.embedded.trainers.trainer_folder import TrainerFolder
from lib.jobs.logs.progress import ProgressParser
from lib.jobs.resume import Start
from lib.jobs.training_settings import TrainingSettings
from lib.settings import TrainingRules
from tests.embedded.trainers.test_recipes import READY, make_run

CHECKOUT, PYTHON = os.environ.get("REAL_AI_TOOLKIT_DIR"), os.environ.get("REAL_AI_TOOLKIT_PYTHON")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1_800),
    pytest.mark.skipif(
        not (CHECKOUT and PYTHON), reason="REAL_AI_TOOLKIT_DIR and REAL_AI_TOOLKIT_PYTHON are not given"
    ),
]
ENVIRON = {**os.environ, "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}


def train(recipe: AiToolkitRecipe, run: TrainingRun) -> ProgressParser:
    """What its log says."""
    recipe.prepare(run)
    ended = subprocess.run(recipe.command(run), stdout=-1, stderr=subprocess.STDOUT, env=ENVIRON, check=False)
    assert ended.returncode == 0, ended.stdout[-2_000:]
    parser = ProgressParser(first_step=run.start.step if run.start else 0)
    parser.feed(ended.stdout, None)
    return parser


def test_it_trains_and_goes_on_from_its_newest_file(tmp_path: Path) -> None:
    assert CHECKOUT
    assert PYTHON
    script = Path(__file__).with_name("tiny_sd1.py")
    subprocess.run([PYTHON, str(script), str(tmp_path / "m")], check=True, env=ENVIRON, stdout=sys.stderr)
    images = tmp_path / "images"
    images.mkdir()
    for number in range(4):
        Image.new("RGB", (160, 160), (number * 60, 90, 200)).save(images / f"{number}.png")
        (images / f"{number}.txt").write_text(f"a colour {number}")
    folder = TrainerFolder(name="ai-toolkit", setting="AI_TOOLKIT", path=Path(CHECKOUT), given_python=Path(PYTHON))
    recipe = AiToolkitRecipe(folder, ModelFiles(rules=TrainingRules(model_dirs=(tmp_path,))))
    settings = TrainingSettings(
        trainer="ai-toolkit", architecture="sd15", base_model=str(tmp_path / "m" / "model"), epochs=1, resolution=128,
        network_dim=4, network_alpha=4, mixed_precision="no", save_precision="float", gradient_checkpointing=False,
        optimizer="adamw", loader_workers=0, sample_steps=1, sample_prompts=("a fox",),
    )  # fmt: skip
    run = make_run(tmp_path, settings, dataset=replace(READY, image_count=4), dataset_path=images)
    assert recipe.problems(settings, run.dataset) == []
    log = train(recipe, run)
    assert log.progress.step == recipe.steps(settings, run.dataset) == 4
    assert [point.step for point in log.drain_losses(is_over=True)] == [1, 2, 3, 4]
    assert sum(file.path.endswith(".jpg") for file in recipe.collect(run.output_dir)) == 2

    (state,) = recipe.states(EndedRun(output_dir=run.output_dir, settings=settings, steps_per_epoch=4, last_step=4))
    assert (state.step, state.epoch, state.problem) == (4, 1, "")
    again = replace(
        run, settings=replace(settings, epochs=2), attempt_dir=tmp_path / "2", output_dir=tmp_path / "2/o",
        start=Start(attempt=1, path=state.path, step=4, epoch=1, epochs=2), start_path=run.output_dir / state.path,
    )  # fmt: skip
    now = train(recipe, again).progress
    assert (now.step, now.total_steps, now.resumed_step) == (8, 8, 4)
