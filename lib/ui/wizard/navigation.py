"""The frame of the wizard: the three steps, the job it started from, and the bar with "Back" and "Next"."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress

import streamlit as st

from lib import services
from lib.errors import DashboardError
from lib.jobs.job import Job, JobStatus
from lib.jobs.query import MAX_TAKE, JobQuery
from lib.ui.parts.errors import explained_errors
from lib.ui.parts.links import JOB
from lib.ui.parts.notes import show_note
from lib.ui.parts.text import escaped
from lib.ui.parts.url import mirror_url
from lib.ui.wizard.draft import STEPS, next_name, numbered_name, write_draft

Entered = Callable[[], Mapping[str, str | None]]
"""Called at a click; returns what the fields of a step say, as URL parameters."""

_STEP_KEY, _LEFT = "wizard-step", "wizard-step-was-left"


def load_origin() -> Job | None:
    """The job that ``from`` names. When it is gone the page says so and the wizard goes on without it."""
    if not (job_id := st.query_params.get("from", "")):
        return None
    with explained_errors("The job to start from could not be loaded"):
        return services.latest_job(job_id).value
    return None


def is_retry(origin: Job | None) -> bool:
    """Whether the new job tries again what did not succeed; otherwise it only takes over values."""
    return origin is not None and origin.status.is_terminal and origin.status is not JobStatus.SUCCEEDED


def suggested_name(origin: Job) -> str:
    """A free name for another try of this job."""
    taken: list[str] = []
    with suppress(DashboardError):  # a name that is taken is allowed, and the review warns of it
        query = JobQuery(search=numbered_name(origin.name.strip())[0], take=MAX_TAKE)
        taken = [job.name for job in services.latest_jobs(query).value.jobs]
    return next_name(origin.name, taken) if origin.name.strip() else ""


def show_origin(origin: Job) -> None:
    """Which job the values are taken from, with a link to it."""
    with st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
        st.markdown("Retry of" if is_retry(origin) else "Starts from the job", width="content")
        st.page_link(JOB.file, label=escaped(origin.name or origin.id, limit=80), query_params={"id": origin.id})
        show_note("Everything you do not change is taken from it.")


def show_steps(
    step: int, *, chosen: Mapping[str, str], entered: Entered = dict, ready: Callable[[], bool] = lambda: True
) -> None:
    """All steps; a click leads to one and keeps what was entered.

    Args:
        step: The current step.
        chosen: Written to the URL, so that a shared link keeps defaults that nobody touched.
        entered: What the fields of the current step say.
        ready: Called when a later step is clicked; False keeps the current one, which then says why.
    """
    st.session_state.pop(_LEFT, None)
    mirror_url(_STEP_KEY, step)
    st.segmented_control(
        "Step",
        range(1, len(STEPS) + 1),
        key=_STEP_KEY,
        format_func=lambda each: f"{each} · {STEPS[each - 1]}",
        required=True,
        label_visibility="collapsed",
        on_change=_jump,
        args=(step, chosen, entered, ready),
    )


@contextmanager
def bottom_bar() -> Iterator[None]:
    """A row at the bottom of the window. What is said above it does not move its buttons while they are clicked."""
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        yield


def show_navigation(
    step: int,
    *,
    chosen: Mapping[str, str],
    entered: Entered,
    problem: str = "",
    is_blocked: bool = False,
    ready: Callable[[], bool] = lambda: True,
) -> None:
    """The row with "Back" and "Next" of the first two steps; arguments as in ``show_steps``.

    ``problem`` is said between them; with ``is_blocked`` nothing typed on this step can solve it.
    """
    with bottom_bar():
        if step > 1:
            show_back(step, chosen, entered)
        st.markdown(f":small[:orange[{escaped(problem)}]]" if problem else "", width="content")
        st.button(
            "Next",
            type="primary",
            icon=":material/arrow_forward:",
            icon_position="right",
            disabled=is_blocked,
            on_click=_go,
            args=(step + 1, chosen, entered, ready),
        )


def show_back(step: int, chosen: Mapping[str, str] | None = None, entered: Entered = dict) -> None:
    """The button "Back"."""
    st.button("Back", icon=":material/arrow_back:", on_click=_go, args=(step - 1, chosen or {}, entered))


def _jump(step: int, chosen: Mapping[str, str], entered: Entered, ready: Callable[[], bool]) -> None:
    wanted = st.session_state[_STEP_KEY] or step
    _go(wanted, chosen, entered, ready if wanted > step else lambda: True)


def _go(step: int, chosen: Mapping[str, str], entered: Entered, ready: Callable[[], bool] = lambda: True) -> None:
    said = {**{name: each for name, each in chosen.items() if each}, **entered()}
    if is_going := ready():
        said["step"] = str(step)
    st.session_state[_LEFT] = is_going
    write_draft(said)


def write_entered(entered: Entered) -> None:
    """Write what all fields say after one of them changed.

    The step that was just clicked stays: the change and the click may arrive together, in either order.
    """
    kept = {"step": st.query_params.get("step")} if st.session_state.get(_LEFT) else {}
    write_draft({**entered(), **kept})
