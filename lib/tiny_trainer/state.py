"""A training state: adapters, optimizer and random numbers, in a folder like one of sd-scripts; nothing is pickled."""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from lib.tiny_trainer.lora_file import write_lora
from lib.tiny_trainer.network import Adam, PatchDenoiser

WEIGHTS, OPTIMIZER, TRAIN_STATE = "model.safetensors", "optimizer.npz", "train_state.json"


class UnusableState(Exception):
    """A state or file cannot be gone on from; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What a state holds, in objects that go on changing."""

    network: PatchDenoiser
    adam: Adam
    chance: np.random.Generator


def save_state(folder: Path, trained: Trained, *, alpha: float, epoch: int, step: int) -> None:
    """Write a state in one step; ``step`` counts those of this run alone, as sd-scripts does."""
    unfinished = folder.with_name(f".{os.getpid()}.part")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    write_lora(unfinished / WEIGHTS, trained.network.tensors(alpha), {"format": "np"})
    pairs = enumerate(trained.adam.moments)
    moments = {f"{place}-{part}": pair[part] for place, pair in pairs for part in (0, 1)}
    with (unfinished / OPTIMIZER).open("wb") as file:
        np.savez(file, step_count=trained.adam.step_count, **moments)  # type: ignore[arg-type]
    facts = {"current_epoch": epoch, "current_step": step, "random": trained.chance.bit_generator.state}
    (unfinished / TRAIN_STATE).write_text(json.dumps(facts))
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)


def load_state(folder: Path, trained: Trained) -> dict[str, int]:
    """Take over a state and return its ``current_epoch`` and ``current_step``. Raises UnusableState."""
    load_weights(folder / WEIGHTS, trained.network)
    try:
        facts = json.loads((folder / TRAIN_STATE).read_bytes())
        with np.load(folder / OPTIMIZER) as stored:  # refuses pickles
            trained.adam.step_count = int(stored["step_count"])
            count = (len(stored.files) - 1) // 2
            trained.adam.moments[:] = [(stored[f"{place}-0"], stored[f"{place}-1"]) for place in range(count)]
        trained.chance.bit_generator.state = facts["random"]
        return {name: int(facts[name]) for name in ("current_epoch", "current_step")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UnusableState(f"the state {folder} cannot be read: {error}") from error


def load_weights(path: Path, network: PatchDenoiser) -> None:
    """Take over the adapters of a LoRA file. Raises UnusableState when they are not of the same shapes."""
    try:
        tensors = load_file(path)
    except Exception as error:  # what safetensors raises has no common class
        raise UnusableState(f"the weights {path} cannot be read: {error}") from error
    for name, layer in network.layers.items():
        for part, own in (("lora_down", layer.down), ("lora_up", layer.up)):
            loaded = tensors.get(f"lora_unet_{name}.{part}.weight")
            if loaded is None or loaded.shape != own.shape:
                found = "missing" if loaded is None else f"of shape {loaded.shape}"
                raise UnusableState(f"in {path}, {name}.{part} is {found} and not of shape {own.shape}")
            own[:] = loaded
