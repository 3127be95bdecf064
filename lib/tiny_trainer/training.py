"""The training loop. It prints what sd-scripts prints, and makes the files sd-scripts makes."""

import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from lib.tiny_trainer.lora_file import write_lora
from lib.tiny_trainer.network import BASE_NAME, Adam, Array, PatchDenoiser
from lib.tiny_trainer.patches import (
    FEATURES,
    PATCH_PX,
    PATCH_VALUES,
    PixelCache,
    embed,
    features,
    find_images,
    to_patches,
    to_pixels,
)
from lib.tiny_trainer.plan import Plan, metadata
from lib.tiny_trainer.state import TRAIN_STATE, Trained, UnusableState, load_state, load_weights, save_state

TOKENS_PER_IMAGE = 256  # at most so many patches of an image per step, so that large pictures cost no more
SAMPLING_STEPS = 16
MAX_SAMPLE_PX = 256
FRAME_INTERVAL_S = 0.1


@dataclass
class Averages:
    """The mean loss over the last epoch's worth of steps (sd-scripts' LossRecorder)."""

    window: int
    losses: list[float]

    def add(self, loss: float, index: int) -> float:
        """Put in the loss of the ``index``-th step of the epoch; the mean now."""
        if len(self.losses) < self.window:
            self.losses.append(loss)
        else:
            self.losses[index] = loss
        return float(np.mean(self.losses))


class Training:
    """One training from its plan to its last file."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.images = [image for folder in plan.folders for image in find_images(folder)]
        self.pixels = PixelCache(plan.side_px)
        self.captions = [embed(image.caption) for image in self.images]
        self.network = PatchDenoiser(
            FEATURES, PATCH_VALUES, rank=plan.network_dim, alpha=plan.network_alpha, seed=plan.seed
        )
        self.adam = Adam(plan.learning_rate)
        self.chance = np.random.default_rng([plan.seed, 2])
        self.prompts = read_prompts(plan)

    def run(self) -> bool:
        """Train; False when there is nothing to train on, or the state to go on from cannot be used."""
        say(f"{self.plan.shown(self.images)} train images with repeats.")
        if not self.images:
            say(f"ERROR    No data found. Please verify arguments: {self.plan.train_data_dir} has no images")
            return False
        self._cache_latents()
        batches, epochs = self.plan.batches(self.images), self.plan.max_train_epochs
        try:
            finished_epochs = self._resume() // batches
        except UnusableState as problem:
            say(f"ERROR    The training cannot go on: {problem}")
            return False
        if finished_epochs >= epochs:
            say(f"ERROR    max_train_epochs should be greater than the {finished_epochs} epochs that are finished")
            return False
        self._announce()
        averages = Averages(batches, [])
        # sd-scripts too counts from 0 after a resume, up to the steps of the whole training.
        bar = tqdm(total=batches * epochs, desc="steps", mininterval=FRAME_INTERVAL_S, smoothing=0)
        for epoch in range(finished_epochs + 1, epochs + 1):
            say(f"\nepoch {epoch}/{epochs}")
            for index, chosen in enumerate(self._batches(batches)):
                loss = self._step(chosen)
                # No refresh: update() draws the frame, at most ten times a second.
                bar.set_postfix(avr_loss=averages.add(loss, index), refresh=False)
                bar.update(1)
            bar.refresh()
            self._end_epoch(epoch, (epoch - finished_epochs) * batches)
        bar.close()
        return True

    def _resume(self) -> int:
        """Take over the state or the weights that the plan names; the steps that are finished. Raises UnusableState."""
        plan, step = self.plan, 0
        if plan.network_weights is not None:
            load_weights(plan.network_weights, self.network)
            say(f"load network weights from {plan.network_weights}: <All keys matched successfully>")
        if plan.resume is not None:
            say(f"INFO     resume training from local state: {plan.resume}")
            facts = load_state(plan.resume, self._trained)
            say(f"INFO     load train state from {plan.resume / TRAIN_STATE}: {facts}")
            step = facts["current_step"]
            if plan.initial_step is not None:
                say("WARNING  steps from the state is ignored because initial_step is specified")
        return step if plan.initial_step is None else plan.initial_step

    @property
    def _trained(self) -> Trained:
        return Trained(network=self.network, adam=self.adam, chance=self.chance)

    def _cache_latents(self) -> None:
        say("caching latents...")
        for image in tqdm(self.images, mininterval=FRAME_INTERVAL_S):
            try:
                self.pixels.get(image.path)
            except OSError:
                say(f"Error loading file: {image.path}")
                raise

    def _announce(self) -> None:
        plan, batches = self.plan, self.plan.batches(self.images)
        say(f"create LoRA network. base dim (rank): {plan.network_dim}, alpha: {plan.network_alpha:g}")
        say(f"create LoRA for {BASE_NAME}: {len(self.network.layers)} modules.")
        say("running training / 学習開始")
        say(f"  num train images * repeats / 学習画像の数×繰り返し回数: {plan.shown(self.images)}")
        say(f"  num batches per epoch / 1epochのバッチ数: {batches}")
        say(f"  num epochs / epoch数: {plan.max_train_epochs}")
        say(f"  batch size per device / バッチサイズ: {plan.train_batch_size}")
        say(f"  total optimization steps / 学習ステップ数: {batches * plan.max_train_epochs}")

    def _batches(self, count: int) -> Sequence[NDArray[np.int64]]:
        """The images of an epoch in a new order, cut into batches."""
        repeats = [self.plan.folders[image.path.parent] for image in self.images]
        order = self.chance.permutation(np.repeat(np.arange(len(self.images)), repeats))
        size = self.plan.train_batch_size
        return [order[start : start + size] for start in range(0, count * size, size)]

    def _step(self, chosen: NDArray[np.int64]) -> float:
        """One optimisation step: noise, guess, compare, change the adapters. The mean squared error."""
        parts = [self._noisy(int(number)) for number in chosen]
        inputs = np.concatenate([part[0] for part in parts])
        clean = np.concatenate([part[1] for part in parts])
        difference = self.network.forward(inputs) - clean
        self.network.backward(difference * np.float32(2 / difference.size))
        self.adam.step(self.network)
        return float(np.mean(np.square(difference)))

    def _noisy(self, number: int) -> tuple[Array, Array]:
        """What the network reads of one image at a random noise level, and the clean patches it should guess."""
        clean = to_patches(self.pixels.get(self.images[number].path))
        level = float(self.chance.uniform())
        signal, noise = signal_and_noise(level)
        noisy = signal * clean + noise * self.chance.standard_normal(clean.shape, np.float32)
        looked_at = np.arange(len(clean))
        if len(clean) > TOKENS_PER_IMAGE:
            looked_at = self.chance.choice(len(clean), TOKENS_PER_IMAGE, replace=False)
        return features(noisy, looked_at, level, self.captions[number]), clean[looked_at]

    def _end_epoch(self, epoch: int, step: int) -> None:
        is_last = epoch == self.plan.max_train_epochs
        name = self.plan.output_name if is_last else f"{self.plan.output_name}-{epoch:06d}"
        path = Path(f"{name}.safetensors")
        say(f"\nsaving checkpoint: {self.plan.output_dir / path}")
        values = metadata(self.plan, self.images, epoch=epoch, step=step)
        write_lora(path, self.network.tensors(self.plan.network_alpha), values)
        if self.plan.save_state:
            self._save_state(name, epoch, step)
        if is_last:
            say("model saved.")
        if self.prompts:
            say(f"generating sample images at step / サンプル画像生成 ステップ: {step}")
            for index, prompt in enumerate(self.prompts):
                self._write_sample(index, prompt, epoch)

    def _save_state(self, name: str, epoch: int, step: int) -> None:
        """Write the state and remove the one before."""
        former = list(Path().glob("*-state"))
        say(f"INFO     saving state at epoch {epoch}")
        alpha = self.plan.network_alpha
        save_state(Path(f"{name}-state"), self._trained, alpha=alpha, epoch=epoch, step=step)
        for folder in former:
            if folder != Path(f"{name}-state"):
                shutil.rmtree(folder, ignore_errors=True)

    def _write_sample(self, index: int, prompt: str, epoch: int) -> None:
        say(f"prompt: {prompt}")
        folder = Path("sample")
        folder.mkdir(exist_ok=True)
        at = time.strftime("%Y%m%d%H%M%S")
        name = f"{self.plan.output_name}_e{epoch:06d}_{index:02d}_{at}_{self.plan.seed}.png"
        unfinished = folder / f".{index:02d}.part"
        Image.fromarray(self._sample(prompt)).save(unfinished, format="PNG")
        unfinished.replace(folder / name)

    def _sample(self, prompt: str) -> NDArray[np.uint8]:
        """Draw a picture from noise in DDIM's steps (https://arxiv.org/abs/2010.02502, equation 12, sigma 0)."""
        rows = min(self.plan.side_px, MAX_SAMPLE_PX) // PATCH_PX
        picture = np.random.default_rng([self.plan.seed, 3]).standard_normal((rows * rows, PATCH_VALUES), np.float32)
        caption, everywhere = embed(prompt), np.arange(rows * rows)
        guess = picture
        for left in range(SAMPLING_STEPS, 0, -1):
            signal, noise = signal_and_noise(left / SAMPLING_STEPS)
            inputs = features(picture, everywhere, left / SAMPLING_STEPS, caption)
            guess = np.clip(self.network.forward(inputs), -1, 1)
            less_signal, less_noise = signal_and_noise((left - 1) / SAMPLING_STEPS)
            picture = less_signal * guess + less_noise * (picture - signal * guess) / noise
        return to_pixels(guess)


def signal_and_noise(level: float) -> tuple[np.float32, np.float32]:
    """The shares of picture and noise at a noise level in [0, 1]; their squares add up to 1."""
    return np.float32(np.cos(level * np.pi / 2)), np.float32(np.sin(level * np.pi / 2))


def read_prompts(plan: Plan) -> list[str]:
    """The prompts of the prompt file, one a line; empty lines and comments are skipped."""
    if plan.sample_prompts is None:
        return []
    lines = map(str.strip, plan.sample_prompts.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def say(text: str) -> None:
    """Print a line at once, where sd-scripts prints it."""
    print(text, flush=True)
    sys.stderr.flush()
