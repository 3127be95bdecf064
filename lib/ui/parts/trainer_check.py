"""Whether a trainer starts at all: a button, a visible wait, then its versions or why it does not."""

import streamlit as st
from streamlit_autorefresh import st_autorefresh

from lib import services
from lib.jobs.trainer_check import TrainerCheck
from lib.jobs.training_settings import TrainingSettings
from lib.sources.protocol import Action
from lib.ui.parts.errors import explained_errors
from lib.ui.parts.notes import show_note
from lib.ui.parts.text import escaped

POLL_MS = 1_100


def facts_text(check: TrainerCheck) -> str:
    """``Version 48d368f (main) · Python 3.11.7 · torch 2.7.1 · Card NVIDIA L4``."""
    return " · ".join(f"{label} {value}" for label, value in check.facts.items())


def show_trainer_check(settings: TrainingSettings) -> None:
    """The panel for the trainer of these settings; nothing where there is none to start."""
    source = services.source()
    if settings.trainer in source.checked_trainers and not services.reason_against(Action.CREATE):
        _show(settings)


@st.fragment
def _show(settings: TrainingSettings) -> None:
    check = services.source().trainer_check(settings)
    is_running = check is not None and check.is_running
    name = escaped(settings.trainer, limit=80)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            f"Checking {name}…" if is_running else f"Check {name}",
            key="trainer-check",
            icon=":material/fact_check:",
            disabled=is_running,
            help="Starts the trainer with --help in its own environment, and shows its versions.",
            on_click=_start,
            args=(settings,),
        )
        if is_running:
            show_note("Importing everything that the trainer needs takes up to a few minutes. You can go on meanwhile.")
    if is_running:
        st_autorefresh(POLL_MS, key="trainer-check-poll")
    elif check is not None:
        _show_result(check, name)


def _start(settings: TrainingSettings) -> None:
    with explained_errors("The trainer cannot be checked"):
        services.act(lambda source: source.start_check(settings))


def _show_result(check: TrainerCheck, name: str) -> None:
    if check.problem:
        st.error(escaped(check.problem), icon=":material/error:")
        if check.lines:
            st.code("\n".join(check.lines), language=None, wrap_lines=True)
    else:
        st.success(f"{name} starts. It took {check.took_s:.0f} s.", icon=":material/check:")
    if facts := facts_text(check):
        show_note(facts)
