"""What is known about a LoRA file, as pages show it. Every text in it comes from a file: it is foreign."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from lib.errors import DashboardError

TOP_TAGS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraPlace:
    """Where a file is: a file of a job, or a path below a folder that may be read."""

    job_id: str = ""
    artifact_id: str = ""
    path: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """Trained words from one place. ``are_proven``: as many captions hold them as there are images."""

    words: tuple[str, ...]
    origin: str
    are_proven: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Tags:
    """How often a tag stands in the captions: suggestions, never trained words."""

    counts: Mapping[str, int] = field(default_factory=dict)
    unusable_entries: int = 0
    note: str = ""

    def top(self, count: int = TOP_TAGS) -> list[tuple[str, int]]:
        """The most frequent ones; ties in the file's order."""
        return sorted(self.counts.items(), key=lambda each: -each[1])[:count]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One training setting in words; ``key`` is where it stands."""

    key: str
    label: str
    value: str
    unit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetFolder:
    """A folder that was trained on; a regularization folder holds pictures of what should stay as it is."""

    name: str
    repeats: int
    images: int
    is_regularization: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleGroup:
    """Modules of the same kind, rank, alpha and scale. None is unknown or not defined."""

    kind: str
    rank: int | None
    alpha: float | None
    alpha_from: str
    scale: float | None
    modules: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """The changed modules of one block of the model."""

    component: str
    name: str
    modules: int
    parameters: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraReport:
    """What a file's header tells.

    Attributes:
        name: The file's name.
        version: Tells this content from another one at the same place: ETag, or time and size.
        kind: What the file is, in words, as "a VAE".
        format: The program that wrote it, or whose names it uses.
        network_type: As "LoRA" or "DoRA/LoKr".
        groups: What its modules have in common, largest group first.
        blocks: In the model's order.
        base_model: What is said on the base model, by key, most trusted first.
        family: The kind of base model that the names of its modules belong to; may be empty.
        words: Trained words by place, most trusted first.
        metadata: Everything the file says, cut where it is endless.
        remarks: What a person should know before using it, most important first.
        broken_modules: Names and reasons of modules that cannot work, the first ones.
    """

    name: str
    version: str
    size_bytes: int
    kind: str
    is_lora: bool
    format: str = ""
    network_type: str = ""
    groups: tuple[ModuleGroup, ...] = ()
    blocks: tuple[Block, ...] = ()
    dtypes: Mapping[str, int] = field(default_factory=dict)
    parameters: int = 0
    tensors: int = 0
    base_model: Mapping[str, str] = field(default_factory=dict)
    family: str = ""
    step: int | None = None
    epoch: int | None = None
    words: tuple[Words, ...] = ()
    tags: Tags = field(default_factory=Tags)
    settings: tuple[Setting, ...] = ()
    folders: tuple[DatasetFolder, ...] = ()
    hashes: Mapping[str, str] = field(default_factory=dict)
    session: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    broken_modules: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NormsReport:
    """What one pass over all weights found.

    Attributes:
        report: The header's report with the alphas that only this pass could read.
        by_block, by_component: Norms by "unet/down_blocks.1" and "unet".
        largest: Module and norm, largest first, the first ones.
        without: Reason -> how many modules have no norm for it.
        not_finite: Names of tensors with NaN or infinite values, the first ones.
    """

    report: LoraReport
    total: float | None
    by_block: Mapping[str, float]
    by_component: Mapping[str, float]
    largest: tuple[tuple[str, float], ...]
    without: Mapping[str, int]
    nan_values: int
    inf_values: int
    not_finite: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NormsState:
    """How far the norms of a file are: waiting for others while all is None."""

    fraction: float | None = None
    result: NormsReport | None = None
    problem: DashboardError | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come."""
        return self.result is not None or self.problem is not None
