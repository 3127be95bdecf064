"""Sample images by epoch and prompt: newest epochs first, older ones on request, full size on click."""

from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from lib import services
from lib.jobs.job import Artifact, ArtifactKind, Attempt, Job
from lib.ui.parts.notes import show_age_note, show_note
from lib.ui.parts.samples import sample_url
from lib.ui.parts.text import escaped, plain

EPOCHS_AT_FIRST = 2
EPOCHS_MORE = 4
MAX_PER_EPOCH = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleRow:
    """The samples of one epoch or step, in the order of their prompts."""

    title: str
    samples: tuple[Artifact, ...]


def sample_rows(artifacts: Sequence[Artifact], attempt: Attempt | None = None) -> list[SampleRow]:
    """An attempt's samples grouped by epoch (or step if the epoch is unknown), newest first."""
    groups: dict[tuple[int, int], list[Artifact]] = {}
    for file in artifacts:
        if file.kind is ArtifactKind.SAMPLE and (attempt is None or file.attempt == attempt.number):
            when = (file.epoch, 0) if file.epoch is not None else (-1, -1 if file.step is None else file.step)
            groups.setdefault(when, []).append(file)
    return [
        SampleRow(title=_title(*when), samples=tuple(sorted(groups[when], key=_prompt_order)))
        for when in sorted(groups, reverse=True)
    ]


def sample_caption(sample: Artifact) -> str:
    """The prompt, else its number, else the file's name."""
    if sample.prompt:
        return plain(sample.prompt, limit=90)
    return f"Prompt {sample.prompt_index + 1}" if sample.prompt_index is not None else plain(sample.name, limit=60)


def show_samples(job: Job, attempt: Attempt) -> bool:
    """A grid per epoch. The browser loads the images from our route.

    Returns whether the list is fresh.
    """
    reading = services.latest_artifacts(job)
    is_fresh = reading.problem is None
    rows = sample_rows(reading.value, attempt if len(job.attempts) > 1 else None)
    key = f"samples-{job.id}-{attempt.number}"
    if not rows and attempt.status.is_terminal and is_fresh:
        return is_fresh
    st.header("Samples", anchor=False)
    show_age_note(reading.problem, reading.read_at)
    if not rows:
        show_note("No samples yet.")
        return is_fresh
    shown = st.session_state.get(f"{key}-epochs", EPOCHS_AT_FIRST)
    for row in rows[:shown]:
        st.markdown(f"**{escaped(row.title)}**")
        with st.grid(4, min_column_width=120, gap="small"):
            for sample in row.samples[:MAX_PER_EPOCH]:
                _show_sample(job.id, sample, row.title)
        if (left_out := len(row.samples) - MAX_PER_EPOCH) > 0:
            show_note(f"{left_out:,} more samples of this moment are not shown.")
    if len(rows) > shown:
        st.button(
            f"Show older samples ({len(rows) - shown} more epochs)",
            key=f"{key}-older",
            on_click=_show_more,
            args=(f"{key}-epochs", shown + EPOCHS_MORE),
        )
    return is_fresh


def _show_sample(job_id: str, sample: Artifact, when: str) -> None:
    url, caption = sample_url(st.context.url, job_id, sample.id), sample_caption(sample)
    if not url.startswith("http"):
        st.link_button(escaped(caption), url)
        return
    st.image(url, caption=escaped(caption), width="stretch", link=url, alt=f"Sample of {when.lower()}: {caption}")


def _show_more(key: str, epochs: int) -> None:
    st.session_state[key] = epochs


def _title(epoch: int, step: int) -> str:
    if epoch >= 0:
        return f"Epoch {epoch}"
    return f"Step {step:,}" if step >= 0 else "Samples without an epoch"


def _prompt_order(sample: Artifact) -> tuple[int, str]:
    return (sample.prompt_index if sample.prompt_index is not None else 1_000_000, sample.name)
