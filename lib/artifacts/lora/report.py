"""What a page shows about a file, from what its header and its weights tell; bounded, however large the header is."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from lib.artifacts.lora.adapter_config import number, parsed_object
from lib.artifacts.lora.file import LoraFile, count_by
from lib.artifacts.lora.keys import ALPHA, family_of
from lib.artifacts.lora.metadata import (
    HASHES,
    base_model_of,
    dataset_folders_of,
    said,
    setting_rows,
    tags_of,
    trained_words_of,
)
from lib.artifacts.lora.modules import Module, numel
from lib.artifacts.lora.norms import Norms
from lib.artifacts.lora.remarks import remarks_on
from lib.jobs.lora_report import Block, DatasetFolder, LoraReport, ModuleGroup, NormsReport, Tags

MAX_VALUE_CHARS, MAX_METADATA_CHARS, MAX_KEYS = 20_000, 1_000_000, 2_000
MAX_TAGS, MAX_GROUPS, MAX_BLOCKS, MAX_NAMED, MAX_SETTING_CHARS = 50_000, 200, 1_000, 50, 2_000


def report_of(lora: LoraFile, *, name: str, version: str, modules: Mapping[str, Module] | None = None) -> LoraReport:
    """The report of a file.

    Args:
        lora: The file.
        name: What it is called.
        version: Tells its content from another one.
        modules: Its modules with alphas that were read later; else those of ``lora``.
    """
    metadata = lora.metadata
    report = LoraReport(
        name=name,
        version=version,
        size_bytes=lora.size_bytes,
        kind=lora.kind.value,
        is_lora=lora.is_lora,
        tensors=len(lora.header.tensors),
        metadata=_bounded(metadata),
        dtypes=count_by(tensor.dtype for tensor in lora.header.tensors.values()),
    )
    if not lora.is_lora:
        return report
    known = list((modules or lora.modules).values())
    tags = tags_of(metadata)
    step, epoch = _step_and_epoch(metadata)
    return LoraReport(
        name=name,
        version=version,
        size_bytes=lora.size_bytes,
        kind=report.kind,
        is_lora=True,
        format=lora.writer,
        network_type=lora.network_type,
        groups=_groups(known),
        blocks=_blocks(lora, known),
        dtypes=report.dtypes,
        parameters=lora.parameters,
        tensors=report.tensors,
        base_model=base_model_in(lora),
        family=family_of(lora.modules),
        step=step,
        epoch=epoch,
        words=tuple(trained_words_of(metadata, lora.header.tensors)),
        tags=Tags(counts=dict(tags.top(MAX_TAGS)), unusable_entries=tags.unusable_entries, note=tags.note),
        settings=tuple(each for each in setting_rows(metadata) if len(each.value) <= MAX_SETTING_CHARS),
        folders=_folders(metadata),
        hashes={key: value for key in HASHES if (value := said(metadata, key)[:MAX_SETTING_CHARS])},
        session=said(metadata, "ss_session_id")[:MAX_SETTING_CHARS],
        metadata=report.metadata,
        remarks=tuple(remarks_on(lora, modules)),
        broken_modules=tuple((each.name, each.problem) for each in known if each.problem)[:MAX_NAMED],
    )


def norms_report_of(lora: LoraFile, norms: Norms, *, name: str, version: str) -> NormsReport:
    """The report of a file whose weights were all read."""
    found = [(module, norm) for module, norm in norms.by_module.items() if norm is not None]
    return NormsReport(
        report=report_of(lora, name=name, version=version, modules=norms.modules),
        total=norms.total,
        by_block=norms.by_block,
        by_component=norms.by_component,
        largest=tuple(sorted(found, key=lambda each: -each[1])[:MAX_NAMED]),
        without=dict(Counter(norms.without.values()).most_common(MAX_NAMED)),
        nan_values=norms.nan_values,
        inf_values=norms.inf_values,
        not_finite=norms.not_finite_tensors[:MAX_NAMED],
    )


def base_model_in(lora: LoraFile) -> dict[str, str]:
    """What is said on the base model, by key, most trusted first."""
    config = next((each for each in lora.configs.values() if each.base_model), None)
    return base_model_of(lora.metadata, config.base_model if config else "", config.origin if config else "")


def _groups(modules: Iterable[Module]) -> tuple[ModuleGroup, ...]:
    counts = Counter(
        (str(each.kind), each.rank, each.alpha, each.alpha_from, each.scale) for each in modules if not each.problem
    )
    return tuple(
        ModuleGroup(kind=kind, rank=rank, alpha=alpha, alpha_from=alpha_from, scale=scale, modules=count)
        for (kind, rank, alpha, alpha_from, scale), count in counts.most_common(MAX_GROUPS)
    )


def _blocks(lora: LoraFile, modules: Iterable[Module]) -> tuple[Block, ...]:
    """In the order of the model: as they are counted, not as text sorts them."""
    counts: defaultdict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    for each in modules:
        found = counts[each.component, each.block]
        found[0] += 1
        found[1] += sum(numel(lora.header.tensors[name]) for part, name in each.tensors.items() if part != ALPHA)
    return tuple(
        Block(component=component, name=block, modules=count, parameters=parameters)
        for (component, block), (count, parameters) in sorted(counts.items(), key=lambda each: block_order(*each[0]))
    )[:MAX_BLOCKS]


def block_order(component: str, block: str) -> tuple[str, int, str, int]:
    """Sorts blocks as data flows through them: down, middle, up, and 2 before 10."""
    kind, _, count = block.partition(".")
    place = next(
        (rank for rank, words in enumerate((("down", "input"), ("mid",), ("up", "output"))) if kind.startswith(words)),
        3,
    )
    return component, place, kind, int(count) if count.isdecimal() and len(count) < 10 else -1


def _folders(metadata: Mapping[str, str]) -> tuple[DatasetFolder, ...]:
    keys = (("ss_dataset_dirs", False), ("ss_reg_dataset_dirs", True))
    return tuple(
        DatasetFolder(name=name, repeats=repeats, images=images, is_regularization=is_regularization)
        for key, is_regularization in keys
        for name, (repeats, images) in list(dataset_folders_of(metadata, key).items())[:MAX_NAMED]
    )


def _step_and_epoch(metadata: Mapping[str, str]) -> tuple[int | None, int | None]:
    progress = parsed_object(metadata.get("training_info", ""))  # of ai-toolkit
    step, epoch = (
        number(metadata.get(key)) if number(metadata.get(key)) is not None else number(progress.get(word))
        for key, word in (("ss_steps", "step"), ("ss_epoch", "epoch"))
    )
    return _whole(step), _whole(epoch)


def _whole(value: float | None) -> int | None:
    return int(value) if value is not None and math.isfinite(value) and 0 <= value < 1e15 else None


def _bounded(metadata: Mapping[str, str]) -> dict[str, str]:
    """The metadata without endless values: a header may hold 100 MB of them."""
    kept: dict[str, str] = {}
    left = MAX_METADATA_CHARS
    for key, value in list(metadata.items())[:MAX_KEYS]:
        shown = value if len(value) <= MAX_VALUE_CHARS else f"{value[:MAX_VALUE_CHARS]}… ({len(value):,} characters)"
        left -= len(key) + len(shown)
        if left < 0:
            break
        kept[key[:MAX_SETTING_CHARS]] = shown
    return kept
