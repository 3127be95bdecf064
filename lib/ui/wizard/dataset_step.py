"""Step 1 of the wizard: which dataset to train on, with what is known about it beside it."""

from collections.abc import Mapping
from functools import partial

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from lib import services
from lib.jobs.dataset import Dataset
from lib.sources.protocol import Action
from lib.ui.datasets.facts import problem_texts, show_thumbnails, summary_text
from lib.ui.parts.links import DATASETS
from lib.ui.parts.text import escaped, plain
from lib.ui.parts.url import follow_url
from lib.ui.wizard.chosen import Chosen
from lib.ui.wizard.draft import Draft
from lib.ui.wizard.more_data_fields import edit_more_data, entered_more_data
from lib.ui.wizard.navigation import show_navigation, show_steps, write_entered

_KEY = "wizard-dataset"


def show_dataset_step(chosen: Chosen, steps: DeltaGenerator, bar: DeltaGenerator) -> None:
    """The whole step; ``steps`` and ``bar`` are the places of its navigation."""
    pick_dataset(chosen)
    kept = {"datasetId": chosen.dataset.id if chosen.dataset else ""}
    entered = partial(entered_dataset, chosen.draft, chosen.datasets)
    with steps:
        show_steps(1, chosen=kept, entered=entered)
    with bar:
        problem = chosen.data_problem
        show_navigation(1, chosen=kept, entered=entered, problem=problem, is_blocked=bool(problem))


def pick_dataset(chosen: Chosen) -> None:
    """The select box "Dataset", what is known about the chosen one, and the further ones."""
    draft, by_id, dataset = chosen.draft, chosen.datasets, chosen.dataset
    if not by_id:
        refused = services.reason_against(Action.CHANGE_DATASETS)
        st.info(f"There are no datasets yet. {escaped(refused) or 'Create one and upload images first.'}")
        st.page_link(DATASETS.file, label="Datasets", icon=":material/photo_library:")
        return
    entered = partial(entered_dataset, draft, by_id)
    follow_url(_KEY, dataset.id if dataset else None)
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
        if dataset is None:
            gone = escaped(draft.dataset_id, limit=80)
            st.warning(f"The dataset {gone} is not there any more. Choose another one.")
        else:
            show_dataset_summary(dataset)
    edit_more_data(by_id, dataset.id if dataset else "", draft, entered)


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
