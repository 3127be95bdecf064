"""The further datasets of a job: one line of fields for each, below the main dataset."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import streamlit as st

from lib import services
from lib.jobs.dataset import Dataset
from lib.jobs.more_data import MOST_MORE_DATA, MoreData, more_data_json, more_data_problem, suggested
from lib.jobs.training_settings import SETTINGS
from lib.jobs.words import count_text
from lib.sources.protocol import Action
from lib.ui.parts.notes import show_note
from lib.ui.parts.text import escaped, plain
from lib.ui.parts.url import follow_url
from lib.ui.wizard.draft import MORE, Draft, write_draft
from lib.ui.wizard.navigation import Entered, write_entered

Lines = tuple[MoreData, ...]
_CHANGED = "wizard-further-changed"

ADD = "Add another dataset"
_PURPOSE = "Images of the same kind, such as other people: they keep what the base model knows, and are not learned."


def more_problem(main_id: str, more: Sequence[MoreData], datasets: Mapping[str, Dataset]) -> str:
    """What is wrong with the further datasets that a draft names; empty when they are fine."""
    gone = next((each for each in more if each.dataset_id not in datasets), None)
    if gone is not None:
        return f"The further dataset {(gone.name or gone.dataset_id)[:80]!r} is not there any more. Take it out."
    empty = next((each for each in more if datasets[each.dataset_id].image_count == 0), None)
    if empty is not None:
        return f"The further dataset {datasets[empty.dataset_id].name[:80]!r} has no images. Take it out."
    return more_data_problem(main_id, more)


def edit_more_data(datasets: Mapping[str, Dataset], main_id: str, draft: Draft, entered: Entered) -> None:
    """A line for each further dataset, and the button that adds one."""
    st.session_state.pop(_CHANGED, None)
    for number, each in enumerate(draft.more_data):
        _show_line(number, each, datasets, draft, entered)
    problem = more_problem(main_id, draft.more_data, datasets)
    if problem:
        st.warning(escaped(problem), icon=":material/warning:")
    elif draft.more_data:
        show_note("Repeats and words of the main dataset come in the next step.")
    used = {main_id, *(each.dataset_id for each in draft.more_data)}
    free = next((each for key, each in datasets.items() if key not in used and each.image_count != 0), None)
    refused = services.reason_against(Action.MORE_DATA)
    is_full = "" if free and len(draft.more_data) < MOST_MORE_DATA else "There is no other dataset to add."
    st.button(
        ADD,
        icon=":material/add:",
        type="tertiary",
        disabled=bool(refused or is_full),
        help=plain(refused or is_full) or "Such as a second subject, or images for regularisation",
        on_click=_change_lines,
        args=(lambda lines: (*lines, suggested(free)) if free else lines, draft, datasets, entered),
    )


def _show_line(number: int, each: MoreData, datasets: Mapping[str, Dataset], draft: Draft, entered: Entered) -> None:
    keys = _keys(number)
    follow_url(keys["dataset_id"], each.dataset_id if each.dataset_id in datasets else None)
    follow_url(keys["repeats"], each.repeats)
    follow_url(keys["class_tokens"], each.class_tokens)
    follow_url(keys["caption_prefix"], each.caption_prefix)
    follow_url(keys["is_regularisation"], each.is_regularisation)
    changed: dict[str, Any] = {"on_change": write_entered, "args": (entered,)}
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small", key=f"further-{number}"):
        st.selectbox(
            "Further dataset",
            list(datasets),
            key=keys["dataset_id"],
            format_func=lambda key: plain(_label(datasets[key]), limit=120),
            placeholder="Choose a dataset",
            width=300,
            **changed,
        )
        st.number_input("Repeats", step=1, format="%d", key=keys["repeats"], width=120, **changed)
        st.text_input(
            "Words instead of a caption",
            key=keys["class_tokens"],
            placeholder="none",
            help=SETTINGS["class_tokens"].hint,
            width=240,
            **changed,
        )
        st.text_input(
            "Caption prefix",
            key=keys["caption_prefix"],
            placeholder="none" if each.is_regularisation else "that of the job",
            help="Put before the captions of this dataset.",
            width=200,
            **changed,
        )
        st.checkbox("Regularisation", key=keys["is_regularisation"], help=_PURPOSE, width="content", **changed)
        st.button(
            "Take out",
            icon=":material/close:",
            type="tertiary",
            key=f"further-{number}-out",
            on_click=_change_lines,
            args=(lambda lines: (*lines[:number], *lines[number + 1 :]), draft, datasets, entered),
        )


def entered_more_data(draft: Draft, datasets: Mapping[str, Dataset]) -> dict[str, str | None]:
    """What the lines say now, as the parameter of the URL; nothing once a click has changed which lines there are.

    The change of a field and the click may arrive together, in either order.
    """
    return {} if _CHANGED in st.session_state else _parameter(_entered_lines(draft, datasets))


def _entered_lines(draft: Draft, datasets: Mapping[str, Dataset]) -> Lines:
    return tuple(_entered(number, each, datasets) for number, each in enumerate(draft.more_data))


def _entered(number: int, each: MoreData, datasets: Mapping[str, Dataset]) -> MoreData:
    state, keys = st.session_state, _keys(number)
    if keys["repeats"] not in state:  # the lines are not shown
        return each
    repeats = state[keys["repeats"]]
    chosen = state[keys["dataset_id"]] or each.dataset_id
    said = MoreData(
        dataset_id=chosen,
        name=each.name if chosen == each.dataset_id else "",
        repeats=1 if repeats is None else int(repeats),
        class_tokens=state[keys["class_tokens"]] or "",
        caption_prefix=state[keys["caption_prefix"]] or "",
        is_regularisation=bool(state[keys["is_regularisation"]]),
    )
    is_other = chosen != each.dataset_id and chosen in datasets
    return suggested(datasets[chosen]) if is_other and said == MoreData(dataset_id=chosen) else said


def _change_lines(
    change: Callable[[Lines], Lines], draft: Draft, datasets: Mapping[str, Dataset], entered: Entered
) -> None:
    """Write other lines than there were, with what was typed at the same time; their fields are filled anew."""
    write_draft({**entered(), **_parameter(change(_entered_lines(draft, datasets)))})
    st.session_state[_CHANGED] = True
    for number in range(MOST_MORE_DATA):
        for key in _keys(number).values():
            st.session_state.pop(key, None)


def _parameter(more: Sequence[MoreData]) -> dict[str, str | None]:
    """None of them is said where the wizard starts from a job, which may have some."""
    nothing = "[]" if st.query_params.get("from") else None
    return {MORE: more_data_json([replace(each, name="") for each in more]) or nothing}


def _keys(number: int) -> dict[str, str]:
    names = ("dataset_id", "repeats", "class_tokens", "caption_prefix", "is_regularisation")
    return {name: f"wizard-further-{number}-{name}" for name in names}


def _label(dataset: Dataset) -> str:
    return f"{dataset.name or '(no name)'} ({count_text(dataset.image_count, 'image', 'images')})"
