"""The frame of the wizard: the current step, the job it started from, "Back" and "Next"."""

from collections.abc import Callable, Mapping

import streamlit as st

from lib import services
from lib.jobs.job import Job
from lib.ui.parts.errors import explained_errors
from lib.ui.parts.text import escaped
from lib.ui.wizard.draft import STEPS, write_draft

_COPY = ":material/content_copy:"


def show_steps(step: int) -> None:
    """``Step 2 of 3: Configure Training``."""
    st.progress(step / len(STEPS), f"Step {step} of {len(STEPS)}")
    st.header(STEPS[step - 1])


def load_origin() -> Job | None:
    """The job that ``from`` names. When it is gone the page says so and the wizard goes on without it."""
    if not (job_id := st.query_params.get("from", "")):
        return None
    with explained_errors("The job to start from could not be loaded"):
        job = services.latest_job(job_id).value
        name = escaped(job.name, limit=80) or escaped(job.id)
        st.info(f"Starts from the job {name}: everything you do not change here is taken from it.", icon=_COPY)
        return job
    return None


def show_navigation(
    step: int,
    *,
    chosen: Mapping[str, str],
    entered: Callable[[], Mapping[str, str | None]],
    problem: str = "",
    ready: Callable[[], bool] = lambda: True,
) -> None:
    """ "Back" and "Next" of the first two steps.

    Args:
        step: The current step.
        chosen: Written to the URL, so that a shared link keeps defaults that nobody touched.
        entered: Called at the click; returns what the fields of this step say, as URL parameters.
        problem: Disables "Next" and is shown beside it.
        ready: Called when "Next" is clicked; False keeps the step, which then says why.
    """
    with st.container(horizontal=True, vertical_alignment="center"):
        if step > 1:
            st.button("Back", icon=":material/arrow_back:", on_click=_go, args=(step - 1, chosen, entered))
        st.button("Next", type="primary", disabled=bool(problem), on_click=_go, args=(step + 1, chosen, entered, ready))
        if problem:
            st.caption(escaped(problem))


def _go(
    step: int,
    chosen: Mapping[str, str],
    entered: Callable[[], Mapping[str, str | None]],
    ready: Callable[[], bool] = lambda: True,
) -> None:
    place = {"step": str(step) if step > 1 else None} if ready() else {}
    write_draft({**{name: each for name, each in chosen.items() if each}, **entered(), **place})
