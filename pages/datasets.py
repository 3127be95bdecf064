"""/datasets: all datasets; with ?id=… one of them: its facts, its pictures, and uploading more."""

import streamlit as st

from lib import services
from lib.sources.protocol import Action
from lib.ui.datasets.facts import (
    LEAVE_DATASET,
    show_dataset_facts,
    show_dataset_list,
    show_deletion,
    show_new_dataset,
    show_scan,
    show_stray_deletion,
)
from lib.ui.datasets.gallery import is_filtered, show_gallery
from lib.ui.datasets.upload import show_upload_panel
from lib.ui.parts.errors import explained_errors
from lib.ui.parts.links import NEW_JOB, show_place_link
from lib.ui.parts.notes import show_bad_parameters
from lib.ui.parts.text import escaped, plain
from lib.ui.parts.url import url_reader

reader = url_reader()
page = reader.whole_number("page", 1, minimum=1, maximum=1_000_000)
only_uncaptioned = is_filtered(reader)
read_only = services.reason_against(Action.CHANGE_DATASETS)
# A source that takes in no pictures has none to show.
with_pictures = not services.source().reason_against(Action.CHANGE_DATASETS)

show_bad_parameters(reader.problems)
if dataset_id := reader.text("id"):
    show_place_link("All datasets", LEAVE_DATASET, icon=":material/arrow_back:")
    with explained_errors("Failed to load the dataset", retry=True):
        dataset = services.source().datasets.get(dataset_id)
        st.set_page_config(page_title=f"{plain(dataset.name, limit=80)} · Datasets")
        st.title(escaped(dataset.name, limit=120))
        if read_only:
            st.info(escaped(read_only), icon=":material/lock:")
        show_dataset_facts(dataset)
        with st.container(horizontal=True, vertical_alignment="center"):
            st.page_link(
                NEW_JOB.file,
                label="Train on this dataset",
                icon=":material/play_arrow:",
                query_params={"datasetId": dataset.id},
            )
            if not read_only:
                show_deletion(dataset)
                show_stray_deletion(dataset)
        if not read_only:
            show_upload_panel(dataset.id)
        if with_pictures:
            if dataset.image_count and not dataset.scanned:
                show_scan(dataset.id)
            show_gallery(dataset, page, only_uncaptioned=only_uncaptioned)
else:
    st.title("Datasets")
    if read_only:
        st.info(escaped(read_only), icon=":material/lock:")
    else:
        show_new_dataset()
    with explained_errors("Failed to load the datasets", retry=True):
        datasets = services.list_datasets()
        if not datasets:
            st.info(
                "No datasets yet." if read_only else "No datasets yet. Create one, then upload images with captions."
            )
        show_dataset_list(datasets, page, with_pictures=with_pictures)
