"""Datasets: the list, the facts about one, creating and deleting."""

from collections.abc import Sequence
from pathlib import Path

import streamlit as st
from streamlit_autorefresh import st_autorefresh

from lib import services
from lib.errors import DatasetError
from lib.jobs.dataset import Dataset, DatasetImage
from lib.jobs.words import UNKNOWN, count_text, size_text
from lib.sources.protocol import Action
from lib.ui.parts.dialogs import act, close_dialog, is_dialog_open, open_dialog, opened
from lib.ui.parts.errors import explained_errors
from lib.ui.parts.format import relative_time, utc_now
from lib.ui.parts.links import show_place_link
from lib.ui.parts.text import escaped, plain
from lib.ui.parts.url import write_params

LIST_TAKE = 20
PREVIEW_TAKE = 6
SHOWN_TAGS = 40
SHOWN_NAMES = 30
SCAN_BUDGET_S = 0.4
SCAN_TICK_MS = 700
_DELETION, _STRAY_DELETION = "delete-dataset", "delete-stray-captions"
# Back to the list.
LEAVE_DATASET = {"id": None, "page": None, "show": None}


def coverage_text(dataset: Dataset) -> str:
    """``14 of 16 (87%)``; 100% only when every image has a caption."""
    if dataset.caption_count is None or not dataset.image_count:
        return UNKNOWN
    part = dataset.caption_count / dataset.image_count
    percent = 100 if part == 1 else min(99, round(part * 100))
    return f"{dataset.caption_count:,} of {dataset.image_count:,} ({percent}%)"


def resolution_text(size: tuple[int, int] | None) -> str:
    """``512 × 768``."""
    return f"{size[0]} × {size[1]}" if size else UNKNOWN


def dataset_facts(dataset: Dataset) -> dict[str, str]:
    """Label -> value, in the order they are shown."""
    return {
        "Images": UNKNOWN if dataset.image_count is None else f"{dataset.image_count:,}",
        "With caption": coverage_text(dataset),
        "Smallest": resolution_text(dataset.smallest),
        "Largest": resolution_text(dataset.largest),
        "Size": size_text(dataset.size_bytes),
    }


def summary_text(dataset: Dataset) -> str:
    """One line: ``ready · 16 images · 16 of 16 (100%) with caption · 4.1 MB``."""
    parts = [plain(dataset.status, limit=40), count_text(dataset.image_count, "image", "images")]
    if (covered := coverage_text(dataset)) != UNKNOWN:
        parts.append(f"{covered} with caption")
    if dataset.size_bytes:
        parts.append(size_text(dataset.size_bytes))
    return " · ".join(part for part in parts if part)


def problem_texts(dataset: Dataset) -> list[str]:
    """What is wrong with the images, as Markdown that names them."""
    texts = []
    if dataset.undecodable:
        files = count_text(len(dataset.undecodable), "file", "files")
        texts.append(f"{files} cannot be decoded: {_names(dataset.undecodable, ', ')}")
    if dataset.duplicates:
        sets = count_text(len(dataset.duplicates), "set", "sets")
        groups = (_names(group, " = ") for group in dataset.duplicates[:SHOWN_NAMES])
        texts.append(f"{sets} of images with the same bytes: {'; '.join(groups)}")
    if dataset.stray_captions:
        have = count_text(len(dataset.stray_captions), "caption has", "captions have")
        texts.append(f"{have} no image: {_names(dataset.stray_captions, ', ')}")
    return texts


def _names(names: Sequence[str], separator: str) -> str:
    shown = separator.join(escaped(name, limit=60) for name in names[:SHOWN_NAMES])
    return f"{shown} and {len(names) - SHOWN_NAMES:,} more" if len(names) > SHOWN_NAMES else shown


def show_dataset_list(datasets: Sequence[Dataset], page: int, *, with_pictures: bool) -> None:
    """Datasets with their first images; each name leads to its page."""
    pages = max(1, -(-len(datasets) // LIST_TAKE))
    page = min(page, pages)
    st.caption(count_text(len(datasets), "dataset", "datasets"))
    for dataset in datasets[(page - 1) * LIST_TAKE : page * LIST_TAKE]:
        with st.container(border=True, gap="xsmall"):
            name = escaped(dataset.name, limit=100) or "(no name)"
            show_place_link(f"**{name}**", {"id": dataset.id, "page": None})
            created = f" · created {relative_time(dataset.created_at, utc_now())}" if dataset.created_at else ""
            st.caption(escaped(summary_text(dataset)) + created)
            if with_pictures:
                show_thumbnails(dataset)
            for problem in problem_texts(dataset):
                st.markdown(f":small[:orange[{problem}]]")
    if pages > 1:
        show_pagination("datasets-page", pages, page)


def show_pagination(key: str, pages: int, page: int) -> None:
    """Page numbers that follow the URL's ``page``."""
    if st.session_state.get(key, page) != page:  # Back, or fewer pages than before
        st.session_state[key] = page
    st.pagination(pages, default=page, key=key, on_change=lambda: _turn_to(st.session_state[key]))


def _turn_to(page: int) -> None:
    write_params({"page": str(page) if page > 1 else None})


def show_thumbnails(dataset: Dataset, take: int = PREVIEW_TAKE) -> None:
    """The first images in a row, and why any is missing; nothing for a source without images."""
    if services.source().reason_against(Action.CHANGE_DATASETS):
        return
    missing: dict[str, None] = {}
    with explained_errors(), st.container(horizontal=True, gap="small", key=f"small-pictures-{dataset.id}"):
        for image in services.source().datasets.images(dataset.id, skip=0, take=take):
            path, problem = thumbnail_of(dataset.id, image)
            if path is not None:
                st.image(path, width=72, alt=plain(image.caption or image.name, limit=120))
            elif not image.error:  # problem_texts names images that cannot be decoded
                missing[problem] = None
    for problem in missing:
        st.caption(f":red[{escaped(problem, limit=300)}]")


def thumbnail_of(dataset_id: str, image: DatasetImage) -> tuple[Path | None, str]:
    """The image's thumbnail, or why there is none."""
    if image.error:
        return None, image.error
    try:
        return services.source().datasets.thumbnail(dataset_id, image.name), ""
    except DatasetError as error:
        return None, f"{error} {error.hint}".strip()


def show_dataset_facts(dataset: Dataset) -> None:
    """Counts, sizes, problems and tags, in one container: what is below keeps its identity while these change."""
    with st.container():
        with st.container(horizontal=True, gap="medium"):
            for label, value in dataset_facts(dataset).items():
                with st.container(width="content", gap=None):
                    st.caption(label)
                    st.markdown(f"**{escaped(value)}**")
        for problem in problem_texts(dataset):
            st.warning(problem, icon=":material/warning:")
        if dataset.tag_counts:
            _show_tags(dataset)


def _show_tags(dataset: Dataset) -> None:
    with st.expander(f"Tags ({len(dataset.tag_counts):,})"):
        shown = list(dataset.tag_counts.items())[:SHOWN_TAGS]
        st.markdown(" · ".join(f"{escaped(tag, limit=60)} **{count:,}**" for tag, count in shown))
        if len(dataset.tag_counts) > SHOWN_TAGS:
            st.caption(f"and {len(dataset.tag_counts) - SHOWN_TAGS:,} more")


@st.fragment
def show_scan(dataset_id: str) -> None:
    """Make thumbnails bit by bit with a progress bar, then show the facts."""
    with explained_errors("The images cannot be checked"):
        fraction = services.source().datasets.scan(dataset_id, budget_s=SCAN_BUDGET_S)
        if fraction >= 1 and not is_dialog_open() and services.source().datasets.get(dataset_id).scanned:
            st.rerun()
        st.progress(fraction, f"Checking images and making thumbnails: {int(fraction * 100)}%")
        st_autorefresh(SCAN_TICK_MS, key=f"scan-{dataset_id}")


def show_new_dataset() -> None:
    """A form for an empty dataset; its page opens next, for the upload."""
    with st.form("new-dataset", border=False), st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.text_input("Dataset name", placeholder="e.g. red-sneakers", width=320)
        submitted = st.form_submit_button("Create dataset", type="primary")
    if submitted:
        with explained_errors("The dataset was not created"):
            write_params({"id": services.act(lambda source: source.datasets.create(name)).id, "page": None})
            st.rerun()


def show_deletion(dataset: Dataset) -> None:
    """The button "Delete dataset" and its confirmation."""
    st.button("Delete dataset", icon=":material/delete:", on_click=open_dialog, args=(_DELETION, dataset.id))
    if opened(_DELETION) == dataset.id:
        _confirm_deletion(dataset)


@st.dialog("Delete dataset", on_dismiss=close_dialog)
def _confirm_deletion(dataset: Dataset) -> None:
    """Say what is lost before it is."""
    images, size = count_text(dataset.image_count, "image", "images"), size_text(dataset.size_bytes)
    st.markdown(f"**{escaped(dataset.name, limit=100)}** with {images} ({size}) will be deleted for good.")
    st.caption("Jobs that were trained on it keep their files and settings.")
    if st.button("Delete for good", type="primary"):
        act(
            lambda source: source.datasets.delete(dataset.id),
            done=f"Deleted the dataset {escaped(dataset.name, limit=80)}",
            then=LEAVE_DATASET,
        )


def show_stray_deletion(dataset: Dataset) -> None:
    """The button that deletes captions without an image, which the gallery does not show, and its confirmation."""
    if dataset.stray_captions:
        st.button("Delete captions without image", on_click=open_dialog, args=(_STRAY_DELETION, dataset.id))
    if opened(_STRAY_DELETION) == dataset.id:
        _confirm_stray_deletion(dataset)


@st.dialog("Delete captions without image", on_dismiss=close_dialog)
def _confirm_stray_deletion(dataset: Dataset) -> None:
    captions = count_text(len(dataset.stray_captions), "caption", "captions")
    st.markdown(f"{captions} will be deleted for good: {_names(dataset.stray_captions, ', ')}")
    if st.button("Delete for good", type="primary"):
        act(
            lambda source: source.datasets.delete_stray_captions(dataset.id, dataset.stray_captions),
            done=f"Deleted {captions}",
        )
