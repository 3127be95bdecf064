"""The real diffusers and PEFT train a tiny random SDXL on the CPU with the recipe's command, and go on from its state.

Only where ``REAL_DIFFUSERS_DIR`` (a checkout) and ``REAL_DIFFUSERS_PYTHON`` (its environment) are given; it takes two
minutes.
"""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from lib.embedded.trainers.diffusers import DiffusersRecipe
from lib.embedded.trainers.model_files import ModelFiles
from lib.embedded.trainers.recipe import EndedRun, TrainingRun
from lib.embedded.trainers.trainer_folder import TrainerFolder
from lib.jobs.job import ArtifactKind
from lib.jobs.resume import Start
from lib.jobs.training_settings import TrainingSettings
from lib.settings import TrainingRules
from tests.embedded.trainers.test_recipes import READY, make_run

CHECKOUT, PYTHON = os.environ.get("REAL_DIFFUSERS_DIR"), os.environ.get("REAL_DIFFUSERS_PYTHON")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not (CHECKOUT and PYTHON), reason="REAL_DIFFUSERS_DIR and REAL_DIFFUSERS_PYTHON are not given"),
]
ENVIRON = {**os.environ, "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}


def train(recipe: DiffusersRecipe, run: TrainingRun) -> str:
    recipe.prepare(run)
    ended = subprocess.run(recipe.command(run), capture_output=True, text=True, env=ENVIRON, check=False)
    assert ended.returncode == 0, ended.stderr[-2_000:]
    return ended.stderr


def test_it_trains_and_goes_on_from_its_state(tmp_path: Path) -> None:
    assert CHECKOUT
    assert PYTHON
    script = Path(__file__).with_name("tiny_sdxl.py")
    subprocess.run([PYTHON, str(script), str(tmp_path / "m")], check=True, env=ENVIRON, stdout=sys.stderr)
    images = tmp_path / "images"
    images.mkdir()
    for number, name in enumerate(("test.png", "val-1.jpg", "c.bmp", "d.webp")):
        Image.new("RGB", (160, 130 + number * 8), (number * 60, 90, 200)).save(images / name)
        (images / name).with_suffix(".txt").write_text(f"a colour {number}")
    folder = TrainerFolder(name="diffusers", setting="DIFFUSERS", path=Path(CHECKOUT), given_python=Path(PYTHON))
    recipe = DiffusersRecipe(folder, ModelFiles(rules=TrainingRules(model_dirs=(tmp_path,))))
    settings = TrainingSettings(
        trainer="diffusers", architecture="sdxl", base_model=str(tmp_path / "m" / "model"), epochs=2, batch_size=2,
        network_dim=4, network_alpha=4, resolution=128, mixed_precision="no", gradient_checkpointing=False,
    )  # fmt: skip
    run = make_run(tmp_path, settings, dataset=replace(READY, image_count=4), dataset_path=images)
    assert recipe.problems(settings, run.dataset) == []
    assert "4/4" in train(recipe, run)
    kinds = {file.path: (file.kind, file.step) for file in recipe.collect(run.output_dir)}
    assert kinds["pytorch_lora_weights.safetensors"] == (ArtifactKind.LORA, None)
    assert kinds["checkpoint-2/pytorch_lora_weights.safetensors"] == (ArtifactKind.CHECKPOINT, 2)

    states = recipe.states(EndedRun(output_dir=run.output_dir, settings=settings, steps_per_epoch=2))
    assert sorted((state.step, state.epoch, state.problem) for state in states) == [(2, 1, ""), (4, 2, "")]
    start = Start(attempt=1, path="checkpoint-4", step=4, epoch=2, epochs=3)
    again = replace(
        run, settings=replace(settings, epochs=3, keep_last=1), attempt_dir=tmp_path / "2", output_dir=tmp_path / "2/o",
        start=start, start_path=run.output_dir / "checkpoint-4",
    )  # fmt: skip
    assert "6/6" in train(recipe, again)
    found = {file.path for file in recipe.collect(again.output_dir) if file.kind in (ArtifactKind.CHECKPOINT,)}
    assert found == {"checkpoint-6/pytorch_lora_weights.safetensors"}
    assert (run.output_dir / "checkpoint-4" / "optimizer.bin").is_file()  # the former attempt keeps its own
