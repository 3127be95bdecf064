"""Sample images: the newest ones as a strip, and all of them as a grid of prompts and epochs.

The browser loads the pictures from our route; ``browser.js`` opens one in full size and lets the arrow keys walk on.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from lib import services
from lib.jobs.job import Artifact, ArtifactKind, Attempt, Job
from lib.sources.reads import Reading
from lib.ui.monitor.attempts import files_of_line, line_of
from lib.ui.parts.notes import show_age_note, show_note
from lib.ui.parts.samples import show_sample
from lib.ui.parts.text import escaped, plain
from lib.ui.parts.url import mirrored_key

STRIP_SAMPLES = 8
# Two samples need not be as small as eight.
STRIP_COLUMNS = 4
GRID_EPOCHS = 5
MAX_PROMPTS = 24
_NO_PROMPT = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleRow:
    """The samples of one epoch or step, in the order of their prompts."""

    title: str
    samples: tuple[Artifact, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptRow:
    """The samples of one prompt: one for each epoch shown, None where there is none."""

    caption: str
    samples: tuple[Artifact | None, ...]


def sample_rows(artifacts: Sequence[Artifact]) -> list[SampleRow]:
    """The samples among some files grouped by epoch (or step if the epoch is unknown), newest first."""
    groups: dict[tuple[int, int], list[Artifact]] = {}
    for file in artifacts:
        if file.kind is ArtifactKind.SAMPLE:
            when = (file.epoch, 0) if file.epoch is not None else (-1, -1 if file.step is None else file.step)
            groups.setdefault(when, []).append(file)
    return [
        SampleRow(title=_title(*when), samples=tuple(sorted(groups[when], key=_prompt_order)))
        for when in sorted(groups, reverse=True)
    ]


def prompt_rows(rows: Sequence[SampleRow]) -> list[PromptRow]:
    """The same samples with a row for each prompt, in the order of the prompts."""
    placed = [_by_prompt(row) for row in rows]
    return [
        PromptRow(
            caption=next(sample_caption(samples[place]) for samples in placed if place in samples),
            samples=tuple(samples.get(place) for samples in placed),
        )
        for place in sorted({place for samples in placed for place in samples})
    ]


def epochs_up_to(rows: Sequence[SampleRow], title: str | None) -> list[SampleRow]:
    """The epoch with this title and the ones before it, newest first; None or an unknown title: the newest ones."""
    start = next((at for at, row in enumerate(rows) if row.title == title), 0)
    return list(rows[start : start + GRID_EPOCHS])


def sample_caption(sample: Artifact) -> str:
    """The prompt, else its number, else the file's name."""
    if sample.prompt:
        return plain(sample.prompt, limit=90)
    return f"Prompt {sample.prompt_index + 1}" if sample.prompt_index is not None else plain(sample.name, limit=60)


def show_newest_samples(job: Job, attempt: Attempt) -> bool:
    """The samples of the newest epoch in one row; nothing while there is none. Returns whether the list is fresh."""
    reading, rows = _read(job, attempt)
    if rows:
        with st.container(key="small-pictures-samples-strip", gap="xsmall"):
            show_note(f"Newest samples: {rows[0].title.lower()}")
            shown = rows[0].samples[:STRIP_SAMPLES]
            with st.grid(max(STRIP_COLUMNS, len(shown)), min_column_width=90, gap="small"):
                for sample in shown:
                    _show_sample(job.id, sample, rows[0].title)
    return reading.problem is None


def show_samples(job: Job, attempt: Attempt) -> bool:
    """A row for each prompt, a column for each of the newest epochs, and a slider that leads to older ones."""
    reading, rows = _read(job, attempt)
    st.header("Samples", anchor=False)
    show_age_note(reading.problem, reading.read_at)
    if not rows:
        show_note("No samples yet." if attempt.status.is_active else "This attempt left no samples.")
        return reading.problem is None
    shown = epochs_up_to(rows, _choose_epoch(rows, f"samples-{job.id}-{attempt.number}"))
    prompts = prompt_rows(shown)
    with st.container(key="small-pictures-samples-grid", gap="small"):
        for prompt in prompts[:MAX_PROMPTS]:
            st.markdown(escaped(prompt.caption))
            with st.grid(GRID_EPOCHS, min_column_width=120, gap="small"):
                for row, sample in zip(shown, prompt.samples, strict=True):
                    if sample is None:
                        show_note(f"{row.title}: none")
                    else:
                        _show_sample(job.id, sample, row.title, row.title)
    if (left_out := len(prompts) - MAX_PROMPTS) > 0:
        show_note(f"{left_out:,} more samples of each epoch are not shown.")
    return reading.problem is None


def _read(job: Job, attempt: Attempt) -> tuple[Reading[Sequence[Artifact]], list[SampleRow]]:
    reading = services.latest_artifacts(job)
    is_one_of_several = len(job.attempts) > 1
    files = files_of_line(reading.value, line_of(job, attempt)) if is_one_of_several else reading.value
    return reading, sample_rows(files)


def _choose_epoch(rows: Sequence[SampleRow], key: str) -> str | None:
    """The epoch to show; None follows the newest."""
    titles = [row.title for row in reversed(rows)]
    if len(titles) <= GRID_EPOCHS:
        return None
    chosen = st.session_state.get(f"{key}-chosen")
    chosen = chosen if chosen in titles else None
    up_to = chosen or titles[-1]
    widget = mirrored_key(key, up_to)
    st.select_slider("Up to", titles, up_to, key=widget, on_change=_keep_epoch, args=(widget, key, titles[-1]))
    return chosen


def _keep_epoch(widget: str, key: str, newest: str) -> None:
    chosen = st.session_state[widget]
    st.session_state[f"{key}-chosen"] = None if chosen == newest else chosen


def _show_sample(job_id: str, sample: Artifact, when: str, caption: str = "") -> None:
    show_sample(job_id, sample, alt=f"Sample of {when.lower()}: {sample_caption(sample)}", caption=caption)


def _by_prompt(row: SampleRow) -> dict[tuple[int, int], Artifact]:
    """The samples by the number of their prompt, else by their place; several of one prompt keep their order."""
    found: dict[tuple[int, int], Artifact] = {}
    for place, sample in enumerate(row.samples):
        number = place if sample.prompt_index is None else sample.prompt_index
        found[number, sum(each == number for each, _ in found)] = sample
    return found


def _title(epoch: int, step: int) -> str:
    if epoch >= 0:
        return f"Epoch {epoch}"
    return f"Step {step:,}" if step >= 0 else "Samples without an epoch"


def _prompt_order(sample: Artifact) -> tuple[int, str]:
    return (sample.prompt_index if sample.prompt_index is not None else _NO_PROMPT, sample.name)
