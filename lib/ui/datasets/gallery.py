"""A dataset's images, page by page; an image's name opens its editor."""

import streamlit as st

from lib import services
from lib.jobs.dataset import Dataset, DatasetImage
from lib.ui.datasets.facts import show_pagination, thumbnail_of
from lib.ui.datasets.image_editor import open_editor, show_editor
from lib.ui.parts.notes import show_note
from lib.ui.parts.text import escaped, plain
from lib.ui.parts.url import UrlReader, mirror_url, write_params

GALLERY_TAKE = 24
THUMBNAIL_PX = 150
_SHOWN = ("all", "uncaptioned")
_FILTER = "gallery-filter"


def is_filtered(reader: UrlReader) -> bool:
    """Whether the URL asks for images without caption only."""
    return reader.choice("show", _SHOWN, _SHOWN[0]) == _SHOWN[1]


def show_gallery(dataset: Dataset, page: int, *, only_uncaptioned: bool) -> None:
    """One page of images with captions: of all, or of those without caption."""
    if dataset.image_count:
        mirror_url(_FILTER, only_uncaptioned)
        st.toggle("Only without caption", key=_FILTER, on_change=_push_filter)
    count = len(dataset.uncaptioned) if only_uncaptioned else dataset.image_count or 0
    pages = max(1, -(-count // GALLERY_TAKE))
    page = min(page, pages)
    first = (page - 1) * GALLERY_TAKE
    if only_uncaptioned:
        images = services.source().datasets.images(
            dataset.id, take=GALLERY_TAKE, among=dataset.uncaptioned[first : first + GALLERY_TAKE]
        )
    else:
        images = services.source().datasets.images(dataset.id, skip=first, take=GALLERY_TAKE)
    if pages > 1:
        st.caption(f"Showing {first + 1:,}-{first + len(images):,} of {count:,}")
    if only_uncaptioned and not images:
        show_note("Every image has a caption.")
    with st.container(horizontal=True, gap="medium", key="small-pictures"):
        for image in images:
            _show_image(dataset, image, dataset.uncaptioned if only_uncaptioned else None)
    if pages > 1:
        show_pagination("gallery-page", pages, page)
    show_editor(dataset)


def _push_filter() -> None:
    write_params({"show": _SHOWN[1] if st.session_state[_FILTER] else None, "page": None})


def _show_image(dataset: Dataset, image: DatasetImage, among: tuple[str, ...] | None) -> None:
    with st.container(width=THUMBNAIL_PX, gap="xsmall"):
        path, problem = thumbnail_of(dataset.id, image)
        if path is None:
            st.markdown(f":red[{escaped(problem, limit=300)}]")
        else:
            st.image(path, width=THUMBNAIL_PX, alt=plain(image.caption or image.name, limit=200))
        st.button(
            escaped(image.name, limit=40),
            key=f"edit-{dataset.id}-{image.name}",
            type="tertiary",
            icon=":material/edit:",
            on_click=open_editor,
            args=(dataset.id, image.name, among),
        )
        st.caption(escaped(image.caption, limit=90) or "no caption")
