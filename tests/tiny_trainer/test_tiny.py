import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open

from lib.embedded.datasets.sample import STARTER
from lib.embedded.trainers.recipe import EndedRun, TrainingRun
from lib.embedded.trainers.tiny import TinyRecipe
from lib.jobs.dataset import Dataset
from lib.jobs.job import ArtifactKind
from lib.jobs.resume import Start
from lib.jobs.training_settings import TrainingSettings, total_steps
from lib.tiny_trainer.network import Adam, PatchDenoiser
from lib.tiny_trainer.patches import embed, to_patches, to_pixels

pytestmark = pytest.mark.slow

TINY = TinyRecipe()
SETTINGS = TrainingSettings(
    epochs=2,
    learning_rate=5e-3,
    batch_size=3,
    resolution=128,
    network_dim=4,
    network_alpha=2,
    repeats=3,
    seed=7,
    sample_prompts=("red circle", "blue ring"),
)


@pytest.fixture
def dataset_path(tmp_path: Path) -> Path:
    folder = tmp_path / "dataset"
    folder.mkdir()
    for number in range(1, 6):
        for ending in ("png", "txt"):
            shutil.copy(STARTER / "dataset" / f"sample-{number:02d}.{ending}", folder / f"{number}.{ending}")
    return folder


def start(
    tmp_path: Path, dataset_path: Path, name: str = "v1", settings: TrainingSettings = SETTINGS, **values: Any
) -> tuple["subprocess.Popen[bytes]", TrainingRun]:
    attempt_dir = tmp_path / name / "attempt"
    run = TrainingRun(
        job_id="job-1",
        name="sks кот v1",
        settings=settings,
        dataset=Dataset(id="d", name="D"),
        dataset_path=dataset_path,
        attempt_dir=attempt_dir,
        output_dir=attempt_dir / "output",
        **values,
    )
    TINY.prepare(run)
    environ = {**os.environ, **TINY.environ(run), "PYTHONUNBUFFERED": "1", "COLUMNS": "240"}
    process = subprocess.Popen(
        TINY.command(run), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=tmp_path, env=environ
    )
    return process, run


def finish(process: "subprocess.Popen[bytes]") -> str:
    output, _ = process.communicate(timeout=120)
    return output.decode()


def test_a_whole_run_prints_and_writes_what_sd_scripts_does(tmp_path: Path, dataset_path: Path) -> None:
    process, run = start(tmp_path, dataset_path)
    text = finish(process)
    assert process.returncode == 0, text
    steps = total_steps(5, SETTINGS)
    for line in (
        "15 train images with repeats.",
        "caching latents...",
        "running training / 学習開始",
        "  num train images * repeats / 学習画像の数×繰り返し回数: 15",
        "  num batches per epoch / 1epochのバッチ数: 5",
        "  num epochs / epoch数: 2",
        f"  total optimization steps / 学習ステップ数: {steps}",
        "epoch 2/2",
        f"saving checkpoint: {run.output_dir / 'sks кот v1-000001.safetensors'}",
        "generating sample images at step / サンプル画像生成 ステップ: 5",
        "model saved.",
    ):
        assert f"\n{line}\n" in f"\n{text}"
    assert re.search(rf"\rsteps: 100%\|█+\| {steps}/{steps} \[.*avr_loss=0\.\d+\]", text)
    assert re.search(r"\r100%\|█+\| 5/5 ", text)
    found = TINY.collect(run.output_dir)
    assert [(file.kind, file.epoch, file.prompt) for file in found] == [
        *((ArtifactKind.SAMPLE, epoch, prompt) for epoch in (1, 2) for prompt in SETTINGS.sample_prompts),
        (ArtifactKind.CHECKPOINT, 1, None),
        *[(ArtifactKind.STATE, None, None)] * 3,
        (ArtifactKind.LORA, None, None),
    ]
    with Image.open(run.output_dir / found[0].path) as sample:
        assert sample.size == (128, 128)
    check_lora(run.output_dir / "sks кот v1.safetensors", steps)


def check_lora(path: Path, steps: int) -> None:
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
        shapes = {name: file.get_tensor(name).shape for name in file.keys()}  # noqa: SIM118
        alphas = {float(file.get_tensor(name)) for name in shapes if name.endswith(".alpha")}
    assert alphas == {2.0}
    assert {shape[0] for name, shape in shapes.items() if name.endswith(".lora_down.weight")} == {4}
    assert {shape[1] for name, shape in shapes.items() if name.endswith(".lora_up.weight")} == {4}
    expected = {"ss_network_dim": "4", "ss_network_alpha": "2.0", "ss_learning_rate": "0.005", "ss_epoch": "2"}
    expected |= {"ss_steps": str(steps), "ss_seed": "7", "ss_output_name": "sks кот v1"}
    assert expected.items() <= metadata.items()
    assert '"blue circle": 1' in metadata["ss_tag_frequency"]


def test_the_same_seed_gives_the_same_file_and_another_seed_another(tmp_path: Path, dataset_path: Path) -> None:
    seeds = {"a": 1, "b": 1, "c": 2}
    started = [
        start(tmp_path, dataset_path, name, replace(SETTINGS, epochs=1, seed=seed, sample_prompts=()))
        for name, seed in seeds.items()
    ]
    for process, _ in started:
        assert "model saved." in finish(process)
    first, again, different = ((run.output_dir / "sks кот v1.safetensors").read_bytes() for _, run in started)
    assert first == again
    assert first != different


def test_no_images_is_a_failure_with_sd_scripts_words(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    process, run = start(tmp_path, tmp_path / "empty")
    assert "No data found. Please verify" in finish(process)
    assert process.returncode != 0
    assert TINY.collect(run.output_dir) == []


def test_a_damaged_image_ends_in_a_traceback_that_names_it(tmp_path: Path, dataset_path: Path) -> None:
    whole = (dataset_path / "3.png").read_bytes()
    (dataset_path / "3.png").write_bytes(whole[: len(whole) // 2])
    process, _ = start(tmp_path, dataset_path)
    text = finish(process)
    assert process.returncode == 1
    assert f"Error loading file: {dataset_path / '3.png'}" in text
    assert "Traceback (most recent call last)" in text
    assert re.search(r"^OSError: ", text, re.MULTILINE)


def test_sigterm_ends_it_at_once(tmp_path: Path, dataset_path: Path) -> None:
    long = TrainingSettings(epochs=1000, resolution=128, repeats=100)
    process, run = start(tmp_path, dataset_path, settings=long)
    assert process.stdout is not None
    seen = b""
    while b"avr_loss=" not in seen:
        seen += (chunk := os.read(process.stdout.fileno(), 65536))
        assert chunk, seen
    process.send_signal(signal.SIGTERM)
    finish(process)
    assert process.returncode == -signal.SIGTERM
    assert TINY.collect(run.output_dir) == []


def fit(change: Callable[[PatchDenoiser, np.ndarray], None]) -> tuple[PatchDenoiser, np.ndarray, np.ndarray]:
    network = PatchDenoiser(20, 12, rank=3, alpha=6, seed=1)
    chance = np.random.default_rng(0)
    inputs = chance.standard_normal((9, 20)).astype(np.float32)
    wanted = chance.standard_normal((9, 12)).astype(np.float32)
    for layer in network.layers.values():
        layer.up += chance.standard_normal(layer.up.shape).astype(np.float32) * 0.05
    change(network, inputs)
    return network, inputs, wanted


def test_the_hand_written_gradients_are_the_true_ones() -> None:
    def in_double_precision(network: PatchDenoiser, _: np.ndarray) -> None:
        for layer in network.layers.values():
            layer.base, layer.down, layer.up = (
                each.astype(np.float64)
                for each in (layer.base, layer.down, layer.up)  # type: ignore[misc]
            )

    network, inputs, wanted = fit(in_double_precision)
    loss = lambda: float(np.sum((network.forward(inputs) - wanted) ** 2))  # noqa: E731
    network.backward(2 * (network.forward(inputs) - wanted))
    gradients = [(values, gradient.copy()) for values, gradient in network.parameters()]
    chance = np.random.default_rng(3)
    for values, gradient in gradients:
        direction = chance.standard_normal(values.shape)
        before = values.copy()
        values += 1e-4 * direction
        up = loss()
        values[...] = before - 1e-4 * direction
        down = loss()
        values[...] = before
        assert (up - down) / 2e-4 == pytest.approx(float(np.sum(gradient * direction)), rel=2e-3)


def test_training_changes_only_the_adapters_and_lowers_the_loss() -> None:
    network, inputs, wanted = fit(lambda network, inputs: None)
    bases = {name: layer.base.copy() for name, layer in network.layers.items()}
    adam, losses = Adam(1e-2), []
    for _ in range(25):
        difference = network.forward(inputs) - wanted
        losses.append(float(np.mean(difference**2)))
        network.backward(difference * np.float32(2 / difference.size))
        adam.step(network)
    assert losses[-1] < losses[0] / 2
    assert all(np.array_equal(bases[name], layer.base) for name, layer in network.layers.items())


def test_patches_and_captions_are_what_they_say() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 24, 3)).astype(np.uint8)
    assert np.array_equal(to_pixels(to_patches(pixels)), pixels)
    assert np.array_equal(embed("Red circle, ring"), embed("red circle , ring"))
    assert not np.array_equal(embed("red circle"), embed("blue circle"))
    assert not embed("").any()


def test_a_run_that_goes_on_from_a_state_ends_with_the_same_weights_as_one_without_a_break(
    tmp_path: Path, dataset_path: Path
) -> None:
    settings = replace(SETTINGS, sample_prompts=(), epochs=3)
    whole, whole_run = start(tmp_path, dataset_path, "whole", settings)
    first, first_run = start(tmp_path, dataset_path, "first", replace(settings, epochs=1))
    finish(whole)
    finish(first)
    (state,) = TINY.states(EndedRun(output_dir=first_run.output_dir, settings=settings, steps_per_epoch=5))
    assert (state.path, state.step, state.epoch, state.problem) == ("sks кот v1-state", 5, 1, "")
    begun = Start(attempt=1, path=state.path, step=state.step, epoch=state.epoch)
    values = {"start": begun, "start_path": first_run.output_dir / state.path}
    second, second_run = start(tmp_path, dataset_path, "second", settings, **values)
    text = finish(second)
    assert second.returncode == 0, text
    assert (
        f"load train state from {values['start_path']}/train_state.json: {{'current_epoch': 1, 'current_step': 5}}"
        in text
    )
    assert re.findall(r"^epoch \d/\d$", text, re.MULTILINE) == ["epoch 2/3", "epoch 3/3"]
    assert "10/15 [" in text
    last = "sks кот v1.safetensors"
    assert tensors_of(second_run.output_dir / last) == tensors_of(whole_run.output_dir / last)
    (state,) = TINY.states(
        EndedRun(output_dir=second_run.output_dir, settings=settings, start=begun, steps_per_epoch=5)
    )
    assert (state.step, state.epoch, state.problem) == (15, 3, "")


def test_weights_and_broken_states(tmp_path: Path, dataset_path: Path) -> None:
    settings = replace(SETTINGS, sample_prompts=())
    process, run = start(tmp_path, dataset_path, "first", settings)
    finish(process)
    weights = Start(attempt=1, path="sks кот v1-000001.safetensors", is_state=False, step=5, epoch=1)
    at = run.output_dir / weights.path
    process, _ = start(tmp_path, dataset_path, "weights", settings, start=weights, start_path=at)
    assert f"load network weights from {at}" in finish(process)
    assert process.returncode == 0
    process, _ = start(tmp_path, dataset_path, "rank", replace(settings, network_dim=8), start=weights, start_path=at)
    assert "ERROR    The training cannot go on: in " in finish(process)
    assert process.returncode == 1
    gone = replace(weights, is_state=True)
    process, _ = start(tmp_path, dataset_path, "gone", settings, start=gone, start_path=tmp_path / "gone-state")
    assert "ERROR    The training cannot go on: the weights " in finish(process)


def tensors_of(path: Path) -> dict[str, bytes]:
    with safe_open(path, framework="numpy") as file:
        return {name: file.get_tensor(name).tobytes() for name in file.keys()}  # noqa: SIM118
