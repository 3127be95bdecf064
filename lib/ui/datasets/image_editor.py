"""The dialog about one image: view it, write its caption, go to the next, delete it.

"Previous", "Next" and closing the dialog save a changed caption; "Discard changes" closes it without saving.
"""

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import streamlit as st

from lib import services
from lib.errors import DashboardError, DatasetError
from lib.jobs.dataset import Dataset, DatasetImage
from lib.jobs.words import size_text
from lib.sources.protocol import Action, JobSource
from lib.ui.datasets.facts import resolution_text
from lib.ui.parts.dialogs import act, close_dialog, open_dialog, opened
from lib.ui.parts.errors import explained_errors, show_error
from lib.ui.parts.links import own_path
from lib.ui.parts.text import escaped, plain
from lib.ui.parts.toasts import announce

MAX_CAPTION_LENGTH = 20_000
SHOWN_HEIGHT_PX = 520
_EDITOR, _DELETION = "edit-image", "delete-image"
_TURNS = "images that were opened"


@dataclass(frozen=True, slots=True, kw_only=True)
class Editing:
    """The image that the dialog shows.

    Attributes:
        names: What "Previous" and "Next" walk through, fixed when the dialog opened: a filter does not remove what was
            just captioned.
        turn: Changes with every image shown, so that its fields start fresh.
        caption: What the caption's field began with; None until the image was read.
        was_turned_to: Whether "Previous" or "Next" led here.
        note: What happened to the previous image.
        problem: Why its caption could not be saved.
    """

    dataset_id: str
    name: str
    names: tuple[str, ...]
    turn: int
    caption: str | None = None
    was_turned_to: bool = False
    note: str = ""
    problem: DashboardError | None = None

    @property
    def place(self) -> int | None:
        """Where the image stands among ``names``, counted from 0."""
        return self.names.index(self.name) if self.name in self.names else None

    def neighbour(self, step: int) -> str | None:
        """The name of the image ``step`` places on; None beyond the ends."""
        place = -1 if self.place is None else self.place + step
        return self.names[place] if 0 <= place < len(self.names) else None


def open_editor(dataset_id: str, name: str, among: tuple[str, ...] | None = None) -> None:
    """Open the dialog for an image; ``among`` is what to walk through, by default all images."""
    names = among
    if names is None:
        with suppress(DashboardError):  # the page says what is wrong
            names = tuple(services.source().datasets.image_names(dataset_id))
    open_dialog(_EDITOR, Editing(dataset_id=dataset_id, name=name, names=names or (), turn=_next_turn()))


def show_editor(dataset: Dataset) -> None:
    """Show the dialog that is open about one of the dataset's images, if any."""
    for name, dialog in ((_EDITOR, _edit_image), (_DELETION, _confirm_deletion)):
        if (editing := opened(name)) and editing.dataset_id == dataset.id:
            dialog()


def original_path(dataset_id: str, name: str) -> str:
    """The address of the image as it was uploaded."""
    return own_path(f"/images/{quote(dataset_id, safe='')}/{quote(name, safe='')}")


def _close() -> None:
    """Save what was typed and close; if it cannot be saved, the dialog opens again and says why."""
    editing: Editing | None = opened(_EDITOR)
    if editing is None:
        return
    try:
        if _save_changed(editing):
            announce(f"Saved the caption of {escaped(editing.name, limit=80)}")
    except DashboardError as error:
        open_dialog(_EDITOR, replace(editing, problem=error))
        return
    close_dialog()


@st.dialog("Edit image", width="large", on_dismiss=_close)
def _edit_image() -> None:
    editing: Editing | None = opened(_EDITOR)
    if editing is None:
        return
    with explained_errors():
        image = _stored(editing)
        if editing.caption is None:
            editing = replace(editing, caption=image.caption)
            open_dialog(_EDITOR, editing)
        left, right = st.columns([3, 2], gap="medium")
        with left:
            _show_preview(editing, image)
        with right:
            _show_caption(editing, image)
            st.divider()
            refusal = services.reason_against(Action.CHANGE_DATASETS)
            if st.button(
                "Delete image", type="tertiary", icon=":material/delete:", disabled=bool(refusal), help=refusal or None
            ):
                _save_changed(editing)
                open_dialog(_DELETION, editing)
                st.rerun()


def _show_preview(editing: Editing, image: DatasetImage) -> None:
    pixels = (image.width, image.height) if image.width and image.height else None
    st.markdown(f"**{escaped(image.name, limit=200)}**")
    path, problem = _preview_of(editing, image)
    if path is None:
        st.markdown(f":red[{escaped(problem, limit=300)}]")
    else:
        st.image(path, width=_shown_width(image), alt=plain(image.caption or image.name, limit=200))
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(f"{resolution_text(pixels)} px · {size_text(image.size_bytes)}", width="content")
        st.link_button(
            "Open the original",
            original_path(editing.dataset_id, image.name),
            type="tertiary",
            icon=":material/open_in_new:",
        )


def _shown_width(image: DatasetImage) -> int | Literal["content"]:
    """A width at which a tall image leaves the rest visible; the preview's own size while unknown."""
    if not image.width or not image.height:
        return "content"
    return max(1, round(image.width * min(1.0, SHOWN_HEIGHT_PX / image.height)))


def _preview_of(editing: Editing, image: DatasetImage) -> tuple[Path | None, str]:
    if image.error:
        return None, image.error
    try:
        return services.source().datasets.preview(editing.dataset_id, image.name), ""
    except DatasetError as error:
        return None, f"{error} {error.hint}".strip()


def _show_caption(editing: Editing, image: DatasetImage) -> None:
    refusal = services.reason_against(Action.CHANGE_DATASETS)
    # Typed text is sent with the next click. A run for the text alone would only delay that click.
    caption = st.text_area(
        "Caption",
        editing.caption,
        max_chars=MAX_CAPTION_LENGTH,
        height=160,
        key=_field(editing),
        on_change="ignore",
        disabled=bool(refusal),
    )
    if editing.problem:
        show_error(editing.problem)
    with st.container(horizontal=True):
        _show_turn("Previous", -1, editing, icon=":material/arrow_back:")
        _show_turn("Next", 1, editing, icon=":material/arrow_forward:", shortcut="Ctrl+Enter")
        if st.button("Save caption", type="primary", disabled=bool(refusal), help=refusal or None):
            name = escaped(image.name, limit=80)
            act(lambda source: _save(source, editing, caption or ""), done=f"Saved the caption of {name}")
        if st.button("Discard changes", type="tertiary"):
            close_dialog()
            st.rerun()
    place = "" if editing.place is None else f"{editing.place + 1:,} of {len(editing.names):,}. "
    st.caption(f"{place}{refusal or editing.note or '“Previous”, “Next” and closing save a changed caption.'}")


def _show_turn(label: str, step: int, editing: Editing, *, icon: str, shortcut: str | None = None) -> None:
    st.button(
        label,
        key=f"turn-{label.lower()}",
        icon=icon,
        shortcut=shortcut,
        disabled=editing.neighbour(step) is None,
        on_click=_turn,
        args=(editing, step),
    )


def _turn(editing: Editing, step: int) -> None:
    """Save what was changed, then show the image ``step`` places on; stay if it cannot be saved."""
    note = ""
    try:
        if _save_changed(editing):
            note = f"Saved the caption of {escaped(editing.name, limit=60)}."
    except DashboardError as error:
        open_dialog(_EDITOR, replace(editing, problem=error))
        return
    name = editing.neighbour(step) or editing.name
    turned = replace(_afresh(editing), name=name, was_turned_to=True, note=note, problem=None)
    open_dialog(_EDITOR, turned)


@st.dialog("Delete image", on_dismiss=close_dialog)
def _confirm_deletion() -> None:
    """Say what is lost before it is."""
    editing: Editing | None = opened(_DELETION)
    if editing is None:
        return
    name = escaped(editing.name, limit=100)
    st.markdown(f"**{name}** and its caption will be deleted for good.")
    with st.container(horizontal=True):
        if st.button("Delete for good", type="primary"):
            act(lambda source: source.datasets.delete_image(editing.dataset_id, editing.name), done=f"Deleted {name}")
        if st.button("Keep the image"):
            open_dialog(_EDITOR, _afresh(editing))
            st.rerun()


def _stored(editing: Editing) -> DatasetImage:
    """The image as it is now. Raises DatasetError when it is gone."""
    for image in services.source().datasets.images(editing.dataset_id, take=1, among=(editing.name,)):
        return image
    raise DatasetError(f"The dataset has no image {editing.name[:80]!r}.", hint="It may have been deleted.")


def _save(source: JobSource, editing: Editing, caption: str) -> None:
    source.datasets.set_caption(editing.dataset_id, editing.name, caption)


def _save_changed(editing: Editing) -> bool:
    """Save the field's text if it was changed here; returns whether it was. Raises DatasetError.

    It is compared with what the field began with: a caption that somebody else saved meanwhile stays.
    """
    typed: str | None = st.session_state.get(_field(editing))
    if typed is None or editing.caption is None or typed.split() == editing.caption.split():
        return False
    services.act(lambda source: _save(source, editing, typed))
    return True


def _afresh(editing: Editing) -> Editing:
    """With fields that start from what is stored."""
    return replace(editing, turn=_next_turn(), caption=None)


def _field(editing: Editing) -> str:
    """Key of the caption's field; ``browser.js`` focuses one that "Previous" or "Next" led to."""
    return f"caption-{'turned-' if editing.was_turned_to else ''}{editing.turn}"


def _next_turn() -> int:
    turn: int = st.session_state.get(_TURNS, 0) + 1
    st.session_state[_TURNS] = turn
    return turn
