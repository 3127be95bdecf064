"""Samples of the same prompt side by side: a row per prompt, a column per job, one slider for the epoch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import streamlit as st

from lib import services
from lib.errors import DashboardError
from lib.jobs.job import Artifact, ArtifactKind, Job
from lib.ui.parts.errors import show_error
from lib.ui.parts.notes import show_age_note, show_note
from lib.ui.parts.samples import show_sample
from lib.ui.parts.text import escaped, plain
from lib.ui.parts.url import UrlReader, mirror_url, write_params

MOST_PROMPTS = 12
# Of two jobs, too, so that pictures are small enough to see several prompts at once.
FEWEST_COLUMNS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleSet:
    """The samples of a job's newest attempt: prompt -> epoch -> picture."""

    by_prompt: Mapping[str, Mapping[int, Artifact]]

    @property
    def epochs(self) -> set[int]:
        """All epochs of which there are samples."""
        return {epoch for found in self.by_prompt.values() for epoch in found}

    def at(self, prompt: str, epoch: int) -> tuple[int, Artifact] | None:
        """The sample of an epoch, else that of the last epoch before it."""
        found = self.by_prompt.get(prompt, {})
        before = [each for each in found if each <= epoch]
        return (max(before), found[max(before)]) if before else None


def sample_set(files: Sequence[Artifact], attempt: int) -> SampleSet:
    """Samples with an epoch, by their prompt, else by the prompt's number."""
    by_prompt: dict[str, dict[int, Artifact]] = {}
    for file in sorted(files, key=lambda each: (each.prompt_index or 0, each.name)):
        if file.kind is ArtifactKind.SAMPLE and file.attempt == attempt and file.epoch is not None:
            by_prompt.setdefault(prompt_of(file), {})[file.epoch] = file
    return SampleSet(by_prompt=by_prompt)


def prompt_of(sample: Artifact) -> str:
    """The prompt in words; ``Prompt 2`` where only its number is known."""
    return plain(sample.prompt) if sample.prompt else f"Prompt {(sample.prompt_index or 0) + 1}"


def prompts_of(sets: Sequence[SampleSet]) -> list[str]:
    """All prompts, those that most jobs have first."""
    counts: dict[str, int] = {}
    for each in sets:
        for prompt in each.by_prompt:
            counts[prompt] = counts.get(prompt, 0) + 1
    return sorted(counts, key=lambda prompt: -counts[prompt])


def show_samples(jobs: Sequence[Job], names: Sequence[str], reader: UrlReader) -> None:
    """The slider and the pictures; the browser loads them from our route."""
    st.header("Samples", anchor=False)
    sets = [_samples(job, name) for job, name in zip(jobs, names, strict=True)]
    epochs = sorted(set().union(*(each.epochs for each in sets)))
    if not epochs:
        show_note("No job has samples with an epoch.")
        return
    epoch = reader.whole_number("epoch", epochs[-1], minimum=0, maximum=1_000_000)
    epoch = max((each for each in epochs if each <= epoch), default=epochs[0])
    if len(epochs) > 1:
        mirror_url("compare-epoch", epoch)
        st.select_slider("Epoch", epochs, key="compare-epoch", on_change=_write_epoch)
    prompts = prompts_of(sets)
    if without := [name for name, each in zip(names, sets, strict=True) if not each.epochs]:
        show_note(f"No samples with an epoch: {', '.join(without)}.")
    columns = [each for each in zip(jobs, names, sets, strict=True) if each[2].epochs]
    for prompt in prompts[:MOST_PROMPTS]:
        st.markdown(f"**{escaped(prompt, limit=200)}**")
        with st.grid(max(len(columns), FEWEST_COLUMNS), min_column_width=140, gap="small"):
            for job, name, each in columns:
                _show_sample(job, name, each.at(prompt, epoch), epoch)
    if len(prompts) > MOST_PROMPTS:
        show_note(f"The first {MOST_PROMPTS} of {len(prompts)} prompts.")


def _show_sample(job: Job, name: str, found: tuple[int, Artifact] | None, epoch: int) -> None:
    with st.container(gap="xsmall"):
        if found is None:
            show_note(f"{name}: no sample of this prompt up to this epoch.")
            return
        at, sample = found
        caption = name if at == epoch else f"{name}, epoch {at}"
        show_sample(job.id, sample, alt=f"{caption}: {prompt_of(sample)}"[:200], caption=caption)


def _samples(job: Job, name: str) -> SampleSet:
    try:
        reading = services.latest_artifacts(job)
    except DashboardError as error:
        show_error(error, title=f"The samples of {name} cannot be listed")
        return SampleSet(by_prompt={})
    show_age_note(reading.problem, reading.read_at)
    return sample_set(reading.value, job.attempt)


def _write_epoch() -> None:
    write_params({"epoch": str(st.session_state["compare-epoch"])})
