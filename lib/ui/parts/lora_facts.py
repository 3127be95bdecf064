"""The facts of a LoRA file in words: for one file, and for several beside each other."""

from collections.abc import Sequence

from lib.jobs.lora_report import LoraReport, ModuleGroup
from lib.jobs.words import UNKNOWN, count_text, size_text
from lib.ui.parts.text import plain

SHOWN_VALUES, MAX_CHARS = 3, 120


def fact_rows(report: LoraReport) -> list[tuple[str, str]]:
    """Label and value of each fact; what the file does not tell is unknown."""
    rows = [("Kind", report.kind)]
    if report.is_lora:
        rows = [
            ("Type", report.network_type),
            ("Written by", report.format),
            ("Rank", values_text(report.groups, [_number(each.rank, "none") for each in report.groups])),
            ("Alpha", values_text(report.groups, [alpha_text(each) for each in report.groups])),
            ("Effective scale", values_text(report.groups, [_number(each.scale) for each in report.groups])),
            ("Base model", base_model_text(report)),
            ("Modules", f"{sum(block.modules for block in report.blocks):,}"),
            ("Parameters", f"{report.parameters:,}"),
            ("Step", UNKNOWN if report.step is None else f"{report.step:,}"),
            ("Epoch", UNKNOWN if report.epoch is None else f"{report.epoch:,}"),
        ]
    numbers = ", ".join(report.dtypes)
    return [*rows, ("Size", f"{size_text(report.size_bytes)}" + (f", {numbers}" if numbers else ""))]


def values_text(groups: Sequence[ModuleGroup], values: Sequence[str]) -> str:
    """``16``, or ``16 (200 modules), 8 (10 modules)`` where modules differ; the most frequent first."""
    counts: dict[str, int] = {}
    for group, value in zip(groups, values, strict=True):
        counts[value] = counts.get(value, 0) + group.modules
    if len(counts) < 2:
        return next(iter(counts), UNKNOWN)
    ordered = sorted(counts.items(), key=lambda each: -each[1])
    shown = [f"{value} ({count_text(count, 'module', 'modules')})" for value, count in ordered[:SHOWN_VALUES]]
    return ", ".join(shown) + (f" and {len(ordered) - SHOWN_VALUES} more" if len(ordered) > SHOWN_VALUES else "")


def alpha_text(group: ModuleGroup) -> str:
    """The alpha, or that it is unknown; ``none`` for kinds that have none."""
    return _number(group.alpha, "none" if group.alpha_from.startswith("none") else "unknown")


def base_model_text(report: LoraReport) -> str:
    """What the file says on its base model, else what its names tell; a guess is named one."""
    said = next((value for key, value in report.base_model.items() if key != "ss_v2"), "")
    if said:
        return plain(said, limit=MAX_CHARS)
    return f"{report.family} (guessed from the names of its modules)" if report.family else "unknown"


def _number(value: float | None, missing: str = "unknown") -> str:
    return missing if value is None else f"{value:g}"
