"""What an installation without a job shows: the steps to a first LoRA."""

import streamlit as st

from lib import services
from lib.errors import DashboardError
from lib.sources.protocol import Action
from lib.ui.overview.live import RUNNING_QUERY
from lib.ui.parts.links import CONFIGS, DATASETS, NEW_JOB
from lib.ui.parts.skeleton import first_read
from lib.ui.parts.text import escaped


def is_empty() -> bool:
    """Whether the source has no job at all. On an error it returns False: the panels explain it."""
    try:
        return first_read("overview", st.container(), _has_no_job, height_px=600)
    except DashboardError:
        return False


def _has_no_job() -> bool:
    running = services.latest_jobs(RUNNING_QUERY)
    return not any(services.count_by_status().values()) and not running.value.incomplete


def show_greeting() -> None:
    """The three steps to a first LoRA."""
    st.header("Train your first LoRA", anchor=False)
    st.markdown("Nothing has been trained here yet. Three steps lead to a first LoRA:")
    takes_uploads = not services.reason_against(Action.CHANGE_DATASETS)
    first = ("1. Upload a dataset", "10 to 30 images with captions are enough.")
    if not takes_uploads:
        first = ("1. Look at the datasets", "The source fills them; they are listed here.")
    steps = (
        (first[0], DATASETS.file, ":material/photo_library:", first[1]),
        ("2. Choose a configuration", CONFIGS.file, ":material/tune:", "How long and how finely to train."),
        ("3. Start the training", NEW_JOB.file, ":material/play_circle:", "The wizard checks everything beforehand."),
    )
    for column, (label, page, icon, text) in zip(st.columns(3), steps, strict=True):
        with column.container(border=True):
            st.page_link(page, label=label, icon=icon)
            st.markdown(text)
    _show_what_is_ready()


def _show_what_is_ready() -> None:
    """A link into the wizard where a dataset and a default configuration are there already."""
    try:
        dataset = next((each for each in services.list_datasets() if each.image_count), None)
        config = next((each for each in services.list_configs() if each.is_default), None)
    except DashboardError:
        return  # the pages of datasets and configurations say why
    if dataset and config and not services.reason_against(Action.CREATE):
        names = f"{escaped(dataset.name, limit=80)} with {escaped(config.name, limit=80)}"
        chosen = {"datasetId": dataset.id, "configId": config.id, "step": "2"}
        st.markdown("Or see the whole way first, with what is ready:")
        st.page_link(NEW_JOB.file, label=f"Train {names}", icon=":material/rocket_launch:", query_params=chosen)
        if config.description:
            st.caption(escaped(config.description, limit=300))
