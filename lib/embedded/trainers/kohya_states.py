"""The training states of sd-scripts and of trainers that save them alike: folders that accelerate writes.

Read in sd-scripts at 48d368f: ``{name}-{epoch:06d}-state``, ``{name}-step{step:08d}-state``, last ``{name}-state``.
Its ``train_state.json`` (``save_model_hook`` in train_network.py) counts the steps of that run alone, so that a second
resume would go on at the wrong epoch: ``--initial_step`` says the right step.
"""

import stat
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from lib.artifacts.lora.file import read_local
from lib.artifacts.lora.header import BrokenFile
from lib.embedded.files.availability import FolderUnavailable, folder_unavailable, read_file
from lib.embedded.trainers.recipe import EndedRun, FoundState, TrainingRun
from lib.errors import ArtifactError
from lib.jobs.artifact_names import describe_file
from lib.jobs.logs.resume import STATE_FILE, step_in_state
from lib.jobs.training_settings import TrainingSettings

WEIGHTS = "model.safetensors"
# In the order of their writing (accelerate 1.6, ``save_accelerator_state``): the last one makes the state whole.
ACCELERATE = ("optimizer.bin", "random_states_0.pkl")
# Options that say what a run begins with.
STARTS = frozenset({"resume", "network_weights", "initial_step", "initial_epoch", "skip_until_initial_step"})
_NO_LORA = "Its weights are no LoRA."


def kohya_states(ended: EndedRun, needed: Sequence[str] = ACCELERATE) -> list[FoundState]:
    """The state folders of an attempt. Raises FolderUnavailable when they cannot be read now.

    Args:
        needed: What a whole one holds beside its weights, all zip archives.
    """
    try:
        if ended.output_dir.is_symlink() or not ended.output_dir.is_dir():
            return []
        folders = (path for path in ended.output_dir.iterdir() if path.name.endswith("-state"))
        return [_found_state(path, ended, needed) for path in folders if path.is_dir() and not path.is_symlink()]
    except OSError as error:
        raise folder_unavailable(ended.output_dir, error) from error


def _found_state(folder: Path, ended: EndedRun, needed: Sequence[str]) -> FoundState:
    named = describe_file(f"{folder.name}/{WEIGHTS}")
    per_epoch, said = ended.steps_per_epoch, said_step(folder)
    of_epoch = named.epoch * per_epoch if named.epoch and per_epoch else None
    # musubi-tuner has no such file, and names count from 1 again after a resume.
    of_run = said or named.step or of_epoch
    step = ended.first_step + of_run if of_run else None if named.epoch else ended.last_step
    if ended.start is None and of_epoch and step:
        step = max(step, of_epoch)  # it went on from a state that only its options name
    epoch = step // per_epoch if step and per_epoch and step % per_epoch == 0 else None
    if said and epoch is None:
        epoch = named.epoch
    is_plain = ended.settings.network_module in ("", "LoRA") and "network_module" not in ended.settings.extra
    problem = state_problem(folder, needed, ended.settings.network_dim if is_plain else None)
    return FoundState(
        path=folder.name,
        step=step or 0,
        epoch=epoch,
        modified_at=datetime.fromtimestamp(folder.stat().st_mtime, UTC),
        problem=problem or ("" if step else "It does not say at which step it was saved."),
    )


def said_step(folder: Path) -> int | None:
    """What ``train_state.json`` says; None where it says nothing."""
    try:
        return step_in_state(read_file(folder / STATE_FILE) or b"")
    except (OSError, FolderUnavailable):
        return None


def state_problem(folder: Path, needed: Sequence[str], rank: int | None, *, weights_name: str = WEIGHTS) -> str:
    """Why a state folder cannot be used; empty when it is whole. No pickle is opened."""
    try:
        weights = read_local(folder / weights_name)
        missing = [name for name in needed if not is_archive(folder / name)]
    except (BrokenFile, FileNotFoundError):
        missing = [weights_name]
    except (OSError, ArtifactError) as error:
        return f"It cannot be read now ({getattr(error, 'strerror', None) or error})."
    if missing:
        return f"It was only half written: {missing[0]} is missing or incomplete."
    ranks = {module.layout.rank for module in weights.modules.values()}
    if rank is not None and rank not in ranks:
        found = ", ".join(map(str, sorted(each for each in ranks if each is not None)))
        return f"It is of rank {found}, but the job trains rank {rank}." if found else _NO_LORA
    return ""


def is_archive(path: Path) -> bool:
    """Whether torch wrote it to its end: a zip archive has its directory there."""
    return path.exists() and stat.S_ISREG(path.lstat().st_mode) and zipfile.is_zipfile(path)


def going_on(run: TrainingRun) -> TrainingSettings:
    """The settings, without what they say of a start where the run goes on from something else."""
    if run.start is None:
        return run.settings
    extra = {name: value for name, value in run.settings.extra.items() if name not in STARTS}
    return replace(run.settings, network_weights="", extra=extra)


def start_arguments(run: TrainingRun) -> list[str]:
    """How sd-scripts goes on from a state or a LoRA file; none for a run from the beginning."""
    if run.start is None or run.start_path is None:
        return []
    if not run.start.is_state:
        return [f"--network_weights={run.start_path}", f"--initial_step={run.start.step}"]
    is_said = said_step(run.start_path) == run.start.step
    return [f"--resume={run.start_path}", *([] if is_said else [f"--initial_step={run.start.step}"])]
