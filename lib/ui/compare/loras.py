"""What the final LoRAs of jobs say differently: facts from their tensors first, then their metadata."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st

from lib import services
from lib.errors import DashboardError
from lib.jobs.job import Artifact, ArtifactKind, Job
from lib.jobs.lora_report import LoraPlace, LoraReport
from lib.jobs.words import UNKNOWN
from lib.ui.parts.errors import show_error
from lib.ui.parts.links import INSPECT
from lib.ui.parts.lora_facts import fact_rows
from lib.ui.parts.notes import show_note
from lib.ui.parts.text import escaped, plain

MAX_CHARS, MOST_ROWS = 300, 300


def final_lora(files: Sequence[Artifact], attempt: int) -> Artifact | None:
    """The final LoRA of an attempt, else its newest checkpoint."""
    own = [file for file in files if file.attempt == attempt]
    finals = [file for file in own if file.kind is ArtifactKind.LORA]
    checkpoints = [file for file in own if file.kind is ArtifactKind.CHECKPOINT]
    newest = max(checkpoints, key=lambda file: (file.epoch or 0, file.step or 0), default=None)
    return finals[0] if finals else newest


def different_rows(reports: Sequence[LoraReport | None], names: Sequence[str]) -> list[dict[str, Any]]:
    """A row per fact or key of the metadata in which any two of the files differ."""
    facts = [dict(fact_rows(report)) if report else {} for report in reports]
    metadata = [report.metadata if report else {} for report in reports]
    labels = list(dict.fromkeys(label for each in facts for label in each))
    keys = sorted({key for each in metadata for key in each})
    rows = [(label, [each.get(label, UNKNOWN) for each in facts]) for label in labels]
    rows += [(plain(key, limit=120), [each.get(key, UNKNOWN) for each in metadata]) for key in keys]
    known = [at for at, report in enumerate(reports) if report]
    return [
        {"Fact": label, **{name: plain(value, limit=MAX_CHARS) for name, value in zip(names, values, strict=True)}}
        for label, values in rows
        if len({values[at] for at in known}) > 1
    ]


@st.fragment
def show_final_loras(jobs: Sequence[Job], names: Sequence[str]) -> None:
    """The table, on request: it reads a header per job."""
    st.header("Final LoRAs", anchor=False)
    if not st.toggle("Compare what the final LoRA files say", key="compare-loras"):
        return
    reports = [_report(job, name) for job, name in zip(jobs, names, strict=True)]
    if sum(report is not None for report in reports) < 2:
        show_note("Fewer than two of the jobs have a LoRA that can be read.")
        return
    rows = different_rows(reports, names)
    if not rows:
        show_note("The files say the same.")
        return
    st.dataframe(pd.DataFrame(rows[:MOST_ROWS]), hide_index=True, width="stretch")


def _report(job: Job, name: str) -> LoraReport | None:
    try:
        file = final_lora(services.latest_artifacts(job).value, job.attempt)
        if file is None:
            show_note(f"{name} has no LoRA yet.")
            return None
        params = {"job": job.id, "artifact": file.id}
        st.page_link(INSPECT.file, label=f"{escaped(name)}: {escaped(file.name, limit=60)}", query_params=params)
        return services.lora_report(LoraPlace(job_id=job.id, artifact_id=file.id)).value
    except DashboardError as error:
        show_error(error, title=f"The LoRA of {name} cannot be read")
        return None
