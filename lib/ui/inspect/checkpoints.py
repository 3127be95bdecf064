"""All checkpoints of a job beside each other: norm and NaN over epochs, and a sample of each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st
from streamlit_autorefresh import st_autorefresh

from lib import services
from lib.errors import DashboardError
from lib.jobs.artifact_names import LORA_KINDS
from lib.jobs.job import Artifact, ArtifactKind, Attempt, Job
from lib.jobs.lora_report import LoraPlace, NormsState
from lib.jobs.words import UNKNOWN, count_text, size_text
from lib.ui.inspect.norms import POLL_MS, progress_text
from lib.ui.parts.errors import explained_errors
from lib.ui.parts.links import show_place_link
from lib.ui.parts.notes import show_age_note, show_note
from lib.ui.parts.samples import show_sample
from lib.ui.parts.text import escaped, plain

MOST_CHECKPOINTS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A LoRA file of a job with the sample that was made at its time, and what is known of its norms.

    Attributes:
        problem: Why its header cannot be read; empty when it can.
    """

    file: Artifact
    sample: Artifact | None = None
    version: str = ""
    state: NormsState | None = None
    problem: str = ""


def line_of(attempts: Sequence[Attempt], number: int) -> list[int]:
    """The attempts of one training: those that went on from one another. A retry from step 0 begins another one."""
    starts = {each.number: each.start.attempt if each.start else None for each in attempts}

    def first_of(attempt: int) -> int:
        before = starts.get(attempt)
        return first_of(before) if before is not None and before < attempt else attempt

    return sorted(each for each in {number, *starts} if first_of(each) == first_of(number))


def checkpoints_of(files: Sequence[Artifact], attempts: Sequence[int]) -> list[tuple[Artifact, Artifact | None]]:
    """The LoRA files of attempts in the order of training, each with its first sample."""
    return [pair for attempt in attempts for pair in _of_attempt(files, attempt)]


def _of_attempt(files: Sequence[Artifact], attempt: int) -> list[tuple[Artifact, Artifact | None]]:
    """The final file comes last."""
    own = [file for file in files if file.attempt == attempt]
    samples = [file for file in own if file.kind is ArtifactKind.SAMPLE]
    last = max(samples, key=_when, default=None)
    loras = sorted((file for file in own if file.kind in LORA_KINDS), key=_when)
    return [
        (
            file,
            _sample_of(file, samples)
            if file.epoch is not None or file.step is not None
            else _first_like(last, samples),
        )
        for file in loras
    ]


def _when(file: Artifact) -> tuple[int, int, int]:
    """Sorts by time of training; what names no time is the final file."""
    is_final = file.epoch is None and file.step is None
    return (1 if is_final and file.kind is not ArtifactKind.SAMPLE else 0, file.epoch or 0, file.step or 0)


def _sample_of(file: Artifact, samples: Sequence[Artifact]) -> Artifact | None:
    of_time = [each for each in samples if (each.epoch, each.step) == (file.epoch, file.step)]
    return min(of_time, key=lambda each: (each.prompt_index or 0, each.name), default=None)


def _first_like(last: Artifact | None, samples: Sequence[Artifact]) -> Artifact | None:
    return _sample_of(last, samples) if last else None


def title_of(file: Artifact, *, with_attempt: bool = False) -> str:
    """``Epoch 3``, ``Step 500`` or ``Final``; with the attempt where there are several: ``Epoch 3 (attempt 2)``."""
    when = f"Epoch {file.epoch}" if file.epoch is not None else "Final"
    if file.epoch is None and file.step is not None:
        when = f"Step {file.step:,}"
    return f"{when} (attempt {file.attempt})" if with_attempt else when


def are_of_several(checkpoints: Sequence[Checkpoint]) -> bool:
    """Whether they are of more than one attempt."""
    return len({each.file.attempt for each in checkpoints}) > 1


def chart_rows(checkpoints: Sequence[Checkpoint]) -> list[dict[str, Any]]:
    """A point per checkpoint whose norm is known."""
    several = are_of_several(checkpoints)
    return [
        {
            "checkpoint": title_of(each.file, with_attempt=several),
            "norm": each.state.result.total,
            "damaged": _is_damaged(each.state),
        }
        for each in checkpoints
        if each.state and each.state.result and each.state.result.total is not None
    ]


def state_text(checkpoint: Checkpoint) -> str:
    """What is known of a checkpoint's norms, in words."""
    state = checkpoint.state
    if checkpoint.problem or (state and state.problem):
        return checkpoint.problem or str(state.problem if state else "")
    if state is None:
        return "Norm not computed"
    if state.result is None:
        return progress_text(state)
    total = UNKNOWN if state.result.total is None else f"{state.result.total:.4g}"
    bad = state.result.nan_values + state.result.inf_values
    return f"Norm {total}, " + (f"{count_text(bad, 'value is', 'values are')} NaN or infinite" if bad else "no NaN")


def _is_damaged(state: NormsState) -> bool:
    return state.result is not None and state.result.nan_values + state.result.inf_values > 0


def norm_chart(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Norms in the order of training; damaged files are red."""
    return {
        "data": {"values": list(rows)},
        "height": 220,
        "encoding": {
            "x": {"field": "checkpoint", "type": "ordinal", "sort": None, "title": None},
            "y": {"field": "norm", "type": "quantitative", "title": "Norm", "scale": {"zero": False}},
            "tooltip": [{"field": "checkpoint", "type": "ordinal"}, {"field": "norm", "format": ".4~g"}],
        },
        "layer": [
            {"mark": {"type": "line"}},
            {
                "mark": {"type": "point", "filled": True, "size": 70},
                "encoding": {"color": {"condition": {"test": "datum.damaged", "value": "#d64545"}, "value": "#3b78c4"}},
            },
        ],
    }


def show_checkpoints(job: Job, place: LoraPlace) -> None:
    """The panel, on request: it lists the files and reads the header of each."""
    st.header("Checkpoints of this job", anchor=False)
    if st.toggle("Compare with the other checkpoints of this job", key="with-checkpoints"):
        _watch(job, place)


@st.fragment
def _watch(job: Job, place: LoraPlace) -> None:
    with explained_errors("The checkpoints cannot be listed", retry=True):
        reading = services.latest_artifacts(job)
        show_age_note(reading.problem, reading.read_at)
        attempt = next((file.attempt for file in reading.value if file.id == place.artifact_id), job.attempt)
        pairs = checkpoints_of(reading.value, line_of(job.attempts, attempt))
        found = [_looked_at(job.id, file, sample) for file, sample in pairs[-MOST_CHECKPOINTS:]]
        if len(pairs) > len(found):
            show_note(f"The last {len(found)} of {len(pairs)} checkpoints.")
        _show_start(job.id, found)
        if rows := chart_rows(found):
            summary = ", ".join(f"{row['checkpoint']} {row['norm']:.4g}" for row in rows)
            alt = plain(f"Norms over the training: {summary}", limit=1500)
            st.vega_lite_chart(norm_chart(rows), width="stretch", key="checkpoints-chart", alt=alt)
        with st.grid(4, min_column_width=150, gap="small"):
            for each in found:
                _show_checkpoint(job.id, each, title_of(each.file, with_attempt=are_of_several(found)))
        if any(each.state and not each.state.is_over for each in found):
            st_autorefresh(POLL_MS, key="checkpoints-poll")


def _looked_at(job_id: str, file: Artifact, sample: Artifact | None) -> Checkpoint:
    place = LoraPlace(job_id=job_id, artifact_id=file.id)
    try:
        report = services.lora_report(place).value
    except DashboardError as error:
        return Checkpoint(file=file, sample=sample, problem=str(error))
    if not report.is_lora:
        return Checkpoint(file=file, sample=sample, problem=f"This is no LoRA but {report.kind}.")
    state = services.norms_state(place, report.version)
    return Checkpoint(file=file, sample=sample, version=report.version, state=state)


def _show_start(job_id: str, checkpoints: Sequence[Checkpoint]) -> None:
    missing = [each for each in checkpoints if not each.problem and each.state is None]
    running = [each for each in checkpoints if each.state and not each.state.is_over]
    if missing:
        size = sum(each.file.size_bytes or 0 for each in missing)
        label = f"Compute norms of {count_text(len(missing), 'checkpoint', 'checkpoints')} ({size_text(size)})"
        st.button(label, icon=":material/calculate:", on_click=_start, args=(job_id, missing))
    if running:
        st.button("Cancel all", icon=":material/stop_circle:", on_click=_cancel, args=(job_id, running))


def _start(job_id: str, checkpoints: Sequence[Checkpoint]) -> None:
    for each in checkpoints:
        services.start_norms(LoraPlace(job_id=job_id, artifact_id=each.file.id), each.version)


def _cancel(job_id: str, checkpoints: Sequence[Checkpoint]) -> None:
    for each in checkpoints:
        services.cancel_norms(LoraPlace(job_id=job_id, artifact_id=each.file.id), each.version)


def _show_checkpoint(job_id: str, checkpoint: Checkpoint, title: str) -> None:
    file = checkpoint.file
    with st.container(gap="xsmall"):
        if checkpoint.sample is not None:
            show_sample(job_id, checkpoint.sample, alt=f"Sample at {title.lower()}")
        if show_place_link(f"{title}: {escaped(file.name, limit=60)}", {"job": job_id, "artifact": file.id}):
            st.rerun()
        is_bad = bool(checkpoint.problem) or (checkpoint.state is not None and _is_damaged(checkpoint.state))
        show_note(state_text(checkpoint), color="red" if is_bad else "gray")
