"""Step 1 of the wizard: which dataset to train on, with what is known about it beside it."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial

import streamlit as st

from lib import services
from lib.errors import DashboardError
from lib.jobs.dataset import Dataset
from lib.jobs.query import JobQuery
from lib.sources.protocol import Action
from lib.ui.datasets.facts import problem_texts, show_thumbnails, summary_text
from lib.ui.parts.links import DATASETS
from lib.ui.parts.text import escaped, plain
from lib.ui.parts.url import follow_url
from lib.ui.wizard.draft import Draft
from lib.ui.wizard.more_data_fields import edit_more_data, entered_more_data
from lib.ui.wizard.navigation import write_entered

_KEY = "wizard-dataset"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def usual_dataset(datasets: Sequence[Dataset]) -> str:
    """The id of the dataset that is most likely wanted: that of the last job, else the newest; one with images."""
    usable = {each.id: each for each in datasets if each.image_count != 0}
    with suppress(DashboardError):  # the wizard works without the jobs, too
        for job in services.latest_jobs(JobQuery()).value.jobs:
            if job.dataset_id in usable:
                return job.dataset_id
    return max(usable.values(), key=lambda each: each.created_at or _EPOCH, default=Dataset(id="", name="")).id


def pick_dataset(datasets: Sequence[Dataset], chosen: Dataset | None, draft: Draft) -> Dataset | None:
    """The select box "Dataset" and what is known about the chosen one; None while none is chosen."""
    by_id = {dataset.id: dataset for dataset in datasets}
    if not datasets:
        refused = services.reason_against(Action.CHANGE_DATASETS)
        st.info(f"There are no datasets yet. {escaped(refused) or 'Create one and upload images first.'}")
        st.page_link(DATASETS.file, label="Datasets", icon=":material/photo_library:")
        return None
    entered = partial(entered_dataset, draft, by_id)
    follow_url(_KEY, chosen.id if chosen else None)
    left, right = st.columns(2, gap="large")
    left.selectbox(
        "Dataset",
        list(by_id),
        key=_KEY,
        format_func=lambda each: plain(by_id[each].name, limit=100) or "(no name)",
        placeholder="Choose a dataset",
        on_change=write_entered,
        args=(entered,),
    )
    with right:
        if chosen is None:
            gone = escaped(draft.dataset_id, limit=80)
            st.warning(f"The dataset {gone} is not there any more. Choose another one.")
        else:
            show_dataset_summary(chosen)
    edit_more_data(by_id, chosen.id if chosen else "", draft, entered)
    return chosen


def entered_dataset(draft: Draft, datasets: Mapping[str, Dataset]) -> dict[str, str | None]:
    """What the fields say now, as parameters of the URL.

    The step too: the link may have asked for a later one that could not be shown, and would jump there now.
    """
    main = {"datasetId": st.session_state[_KEY], "step": "1"} if st.session_state.get(_KEY) else {}
    return {**main, **entered_more_data(draft, datasets)}


def show_dataset_summary(dataset: Dataset) -> None:
    """Status, image count, thumbnails, and what is wrong."""
    st.markdown(escaped(summary_text(dataset)))
    show_thumbnails(dataset)
    for problem in problem_texts(dataset):
        st.warning(problem, icon=":material/warning:")
    st.page_link(
        DATASETS.file, label="Open the dataset", icon=":material/open_in_new:", query_params={"id": dataset.id}
    )
