"""A dataset's pictures page by page, and editing one: its caption, or deleting it."""

import streamlit as st

from lib import services
from lib.jobs.dataset import Dataset, DatasetImage
from lib.ui.dataset_panel import act, resolution_text, show_pagination, thumbnail_of
from lib.ui.kept_dialog import close_dialog, open_dialog, opened
from lib.ui.text import escaped, plain
from lib.ui.times import size_text

GALLERY_TAKE = 24
THUMBNAIL_PX = 150
MAX_CAPTION_LENGTH = 20_000
_EDITOR = "edit-image"


def show_gallery(dataset: Dataset, page: int) -> None:
    """One page of images with their captions; an image's name opens the editor."""
    pages = max(1, -(-(dataset.image_count or 0) // GALLERY_TAKE))
    page = min(page, pages)
    first = (page - 1) * GALLERY_TAKE
    images = services.dataset_images(dataset.id, skip=first, take=GALLERY_TAKE)
    if pages > 1:
        st.caption(f"Showing {first + 1:,}-{first + len(images):,} of {dataset.image_count:,}")
    with st.container(horizontal=True, gap="medium"):
        for image in images:
            _show_image(dataset, image)
    if pages > 1:
        show_pagination("gallery-page", pages, page)
    if (subject := opened(_EDITOR)) and subject[0] == dataset.id:
        _edit_image(dataset, subject[1])


def _show_image(dataset: Dataset, image: DatasetImage) -> None:
    with st.container(width=THUMBNAIL_PX, gap="xsmall"):
        _show_picture(dataset, image)
        name = escaped(image.name, limit=40)
        st.button(
            name,
            key=f"edit-{dataset.id}-{image.name}",
            type="tertiary",
            icon=":material/edit:",
            on_click=open_dialog,
            args=(_EDITOR, (dataset.id, image)),
        )
        st.caption(escaped(image.caption, limit=90) or "no caption")


def _show_picture(dataset: Dataset, image: DatasetImage) -> None:
    path, problem = thumbnail_of(dataset.id, image)
    if path is None:
        st.markdown(f":red[{escaped(problem, limit=300)}]")
    else:
        st.image(path, width=THUMBNAIL_PX, alt=plain(image.caption or image.name, limit=200))


@st.dialog("Edit image", width="medium", on_dismiss=close_dialog)
def _edit_image(dataset: Dataset, image: DatasetImage) -> None:
    """Change the caption or delete the image, which is kept as it was when the dialog opened."""
    pixels = (image.width, image.height) if image.width and image.height else None
    st.markdown(f"**{escaped(image.name, limit=200)}**")
    st.caption(f"{resolution_text(pixels)} px · {size_text(image.size_bytes)}")
    _show_picture(dataset, image)
    name = escaped(image.name, limit=80)
    caption = st.text_area("Caption", image.caption, max_chars=MAX_CAPTION_LENGTH, height=120)
    with st.container(horizontal=True):
        if st.button("Save caption", type="primary"):
            act(lambda: services.set_caption(dataset.id, image.name, caption), done=f"Saved the caption of {name}")
        if st.button("Delete image"):
            act(lambda: services.delete_image(dataset.id, image.name), done=f"Deleted {name}")
