"""What every trainer recipe knows: the run it gets, the command it builds, the files it finds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from lib.embedded.trainers.base_model import BaseModel
from lib.embedded.trainers.trainer_folder import Installation
from lib.jobs.dataset import Dataset
from lib.jobs.job import ArtifactKind
from lib.jobs.more_data import MoreData
from lib.jobs.resume import Start
from lib.jobs.secret_options import NOT_SHOWN, is_secret_option, shown_value
from lib.jobs.training_settings import SETTINGS, Parameter, TrainingSettings, set_names, total_steps


@dataclass(frozen=True, slots=True, kw_only=True)
class MoreFolder:
    """A further dataset of a run: what the job says of it, what is known of it, and where it is."""

    said: MoreData
    dataset: Dataset
    path: Path

    @property
    def images(self) -> int:
        """Its images with repeats."""
        return (self.dataset.image_count or 0) * self.said.repeats


NO_MORE: tuple[MoreFolder, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRun:
    """One attempt of a job, as its recipe sees it.

    Attributes:
        name: The job's name, any text; ``file_stem`` makes a file name of it.
        dataset_path: Folder with the images and their .txt captions.
        attempt_dir: Where a recipe may write files of its own.
        output_dir: Where the trainer writes checkpoints and ``sample/``.
        gpu_count: How many cards it is given; 1 also where there is none.
        start: What it goes on from; None begins at step 0.
        start_path: Where that state or file is, which belongs to a former attempt; None without ``start``.
        more: The datasets beside the main one.
    """

    job_id: str
    name: str
    settings: TrainingSettings
    dataset: Dataset
    dataset_path: Path
    attempt_dir: Path
    output_dir: Path
    gpu_count: int = 1
    start: Start | None = None
    start_path: Path | None = None
    more: tuple[MoreFolder, ...] = NO_MORE


def tried_run(settings: TrainingSettings, dataset: Dataset, more: Sequence[MoreFolder] = NO_MORE) -> TrainingRun:
    """A run that will not be made, to look at the command that its settings lead to."""
    folder = Path("attempt")
    return TrainingRun(
        job_id="job", name="lora", settings=settings, dataset=dataset, dataset_path=Path("dataset"),
        attempt_dir=folder, output_dir=folder / "output", more=tuple(more),
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundFile:
    """A file a trainer wrote. ``path`` is relative to the output folder, with ``/`` between its parts."""

    path: str
    kind: ArtifactKind
    size_bytes: int
    modified_at: datetime
    epoch: int | None = None
    step: int | None = None
    prompt_index: int | None = None
    prompt: str | None = None
    holds_nan: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedRun:
    """An attempt that has ended, as its recipe needs it to find its states.

    Attributes:
        start: What it went on from; None: it began at step 0.
        steps_per_epoch: None when unknown.
        last_step: Finished steps of the whole training when it ended well; None when it did not.
    """

    output_dir: Path
    settings: TrainingSettings
    start: Start | None = None
    steps_per_epoch: int | None = None
    last_step: int | None = None

    @property
    def first_step(self) -> int:
        """Steps of the whole training that were finished before it."""
        return self.start.step if self.start else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundState:
    """What a trainer left to go on from.

    Attributes:
        path: Folder or file, relative to the output folder.
        step: Finished steps of the whole training, those before ``EndedRun.first_step`` included.
        epoch: Finished epochs of the whole training; None unless it was saved at the end of one.
        problem: Why it cannot be used, as a sentence; empty when it is whole.
    """

    path: str
    step: int
    modified_at: datetime
    epoch: int | None = None
    problem: str = ""


class Recipe(Protocol):
    """How one trainer is run. A recipe holds its own settings and no other state; recipes subclass this.

    Attributes:
        name: What configurations and jobs call the trainer.
        label: What people read where they choose it.
        uses_gpu: Whether a card is set aside for it, where the machine has any.
        parameters: Setting -> what the trainer calls it, of all settings that it uses.
        takes_prefixes: Whether a further dataset may have a caption prefix of its own.
        takes_weights: Whether ``command`` also goes on from a LoRA file (``run.start`` that is no state).
        counts_anew: What the names of its files count from 0 again after a resume: ``step``, ``epoch``. A trainer with
            ``epoch`` is told only the rest of the training, ``settings.epochs - run.start.epoch``; any other is told
            the length of the whole one.
        steps_note: What it does differently where it goes on up to a number of steps, as a sentence; empty: nothing.
    """

    name: str
    label: str
    uses_gpu: bool = True
    parameters: Mapping[str, Parameter] = MappingProxyType({})
    takes_prefixes: bool = False
    takes_weights: bool = False
    counts_anew: frozenset[str] = frozenset()
    steps_note: str = ""

    def problems(self, settings: TrainingSettings, dataset: Dataset) -> Sequence[str]:
        """Plain sentences: what is missing and what to do about it; empty when it can run."""

    def more_problems(self, settings: TrainingSettings, more: Sequence[MoreFolder]) -> Sequence[str]:
        """Why it cannot train on these datasets beside the main one, in plain sentences; it is asked for some only."""
        return [f"{self.name} trains on one dataset. Take the further ones out, or choose another trainer."]

    def base_model(self, settings: TrainingSettings) -> BaseModel | None:
        """What the base model is by its header; None where it is none of this disk, or the trainer needs none."""
        return None

    def warnings(self, settings: TrainingSettings) -> Sequence[str]:
        """What a person should know before the start although nothing prevents it."""
        return ()

    def installation(self, settings: TrainingSettings) -> Installation | None:
        """What "Check" tries to start; None for a trainer that is installed nowhere."""
        return None

    def command(self, run: TrainingRun) -> list[str]:
        """The argv. Touches nothing, so that it can be shown before the job exists."""

    def commands_before(self, run: TrainingRun) -> Sequence[Sequence[str]]:
        """Commands to run before the training, such as those that fill a cache; they share its log."""
        return ()

    def prepare(self, run: TrainingRun) -> None:
        """Make the folders and write the files that the command names."""

    def environ(self, run: TrainingRun) -> Mapping[str, str]:
        """Variables the trainer needs beside those it inherits."""
        return {}

    def collect(self, output_dir: Path) -> Sequence[FoundFile]:
        """The files written so far, by path."""

    def states(self, ended: EndedRun) -> Sequence[FoundState]:
        """What an attempt left to go on from, in any order; it looks at the disk. None: it cannot be continued."""
        return ()

    def steps(self, settings: TrainingSettings, dataset: Dataset, more: Sequence[MoreFolder] = NO_MORE) -> int:
        """Optimisation steps of a whole training, as the trainer counts them."""
        return total_steps(dataset.image_count or 0, settings, more=sum(each.images for each in more))

    def expected_bytes(self, settings: TrainingSettings) -> int:
        """About how much a whole run writes, for the check of free disk space."""


def all_parameters(recipe: Recipe) -> Mapping[str, Parameter]:
    """What the recipe's trainer uses, and what the worker does for every trainer."""
    return {**recipe.parameters, "stop_on_nan": Parameter(), **({"gpus": Parameter()} if recipe.uses_gpu else {})}


def unused_problems(
    recipe: Recipe, settings: TrainingSettings, more: Mapping[str, Parameter] = MappingProxyType({})
) -> list[str]:
    """Settings that the trainer would ignore, and words that it does not know; empty when it takes them all."""
    changed, parameters = set_names(settings), {**all_parameters(recipe), **more}
    unused = [SETTINGS[name].label for name in changed if name not in parameters]
    problems = [f"{recipe.name} does not use: {', '.join(unused)}. Set it back, or choose another trainer."]
    known = {name: parameters[name].choices for name in changed if name in parameters}
    wrong = {name: words for name, words in known.items() if words and getattr(settings, name) not in words}
    return [
        *(problems if unused else []),
        *(f"{SETTINGS[name].label} must be one of: {', '.join(words)}." for name, words in wrong.items()),
    ]


def further_problems(recipe: Recipe, settings: TrainingSettings, more: Sequence[MoreFolder]) -> list[str]:
    """Why the recipe's trainer cannot train on these datasets beside the main one; empty when it can."""
    if not more:
        return []
    is_prefixed = any(each.said.caption_prefix for each in more) and not recipe.takes_prefixes
    problem = f"{recipe.name} has one caption prefix for all datasets. Empty those of the further ones."
    return [*([problem] if is_prefixed else []), *recipe.more_problems(settings, more)]


def base_problems(recipe: Recipe, settings: TrainingSettings) -> list[str]:
    """Why the base model cannot be trained on, by its header."""
    base = recipe.base_model(settings)
    if base is None:
        return []
    said = settings.architecture or str(settings.extra.get("architecture", ""))
    trained = recipe.parameters.get("architecture", Parameter()).choices
    if not said and base.architecture and trained and base.architecture not in trained:
        return [
            f"The base model is {base.label} by its header, which {recipe.name} does not train. Choose another trainer "
            "or another base model."
        ]
    problem = base.problem or base.contradiction(said)
    return [problem] if problem else []


def dataset_problems(dataset: Dataset) -> list[str]:
    """Why no trainer could use the dataset; empty when it can be trained on."""
    if dataset.image_count == 0:
        return ["The dataset has no images. Upload some on the Datasets page, or choose another dataset."]
    if dataset.undecodable:
        named = ", ".join(dataset.undecodable[:3]) + (", …" if len(dataset.undecodable) > 3 else "")
        return [f"{len(dataset.undecodable)} of the dataset's images cannot be decoded: {named}. Delete them first."]
    return []


def dataset_problems_of(more: Sequence[MoreFolder]) -> list[str]:
    """Why no trainer could use some of the further datasets, each with its name."""
    return [told_of(each, problem) for each in more for problem in dataset_problems(each.dataset)]


def told_of(more: MoreFolder, problem: str) -> str:
    """A sentence about "the dataset" that says which of the further ones is meant."""
    return f"Further dataset {more.dataset.name[:80]!r}: {problem}"


def caption_problems(dataset: Dataset, trainer: str) -> list[str]:
    """Why a trainer that leaves out images without a caption cannot use the dataset as it is."""
    if not dataset.uncaptioned:
        return []
    named = ", ".join(dataset.uncaptioned[:3]) + (", …" if len(dataset.uncaptioned) > 3 else "")
    return [
        f"{len(dataset.uncaptioned)} of the dataset's images have no caption: {named}. {trainer} would leave them out. "
        "Caption them, or delete them."
    ]


def shown_command(command: Sequence[str]) -> tuple[str, ...]:
    """An argv that may be shown: the values of options that are named like secrets are left out."""
    shown: list[str] = []
    is_secret = False
    for part in command:
        option, equals, _ = part.partition("=")
        if part.startswith("--"):
            is_secret = is_secret_option(option)
            shown.append(f"{option}={NOT_SHOWN}" if is_secret and equals else part)
        else:
            shown.append(NOT_SHOWN if is_secret else shown_value(part))
    return tuple(shown)
