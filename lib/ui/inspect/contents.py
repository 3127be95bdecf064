"""What the file says on its training: tags, settings, datasets, and all of its metadata, searched on request."""

from collections.abc import Mapping, Sequence

import pandas as pd
import streamlit as st

from lib.jobs.lora_report import DatasetFolder, LoraReport, Setting, Tags
from lib.jobs.words import count_text
from lib.ui.inspect.tables import MAX_CHARS, Bar, bar_table, copy_buttons, markdown_table
from lib.ui.parts.notes import show_note
from lib.ui.parts.text import plain

SHOWN_TAGS, COPIED_TAGS, SHOWN_ENTRIES = 100, 24, 300


def tag_rows(tags: Tags, needle: str) -> list[tuple[str, int]]:
    """Tags that hold ``needle``, whatever its case, most frequent first."""
    wanted = needle.casefold()
    return [(tag, count) for tag, count in tags.top(len(tags.counts)) if wanted in tag.casefold()]


def setting_text(setting: Setting) -> str:
    """The value with its unit."""
    return plain(f"{setting.value} {setting.unit}", limit=MAX_CHARS)


def entries_with(metadata: Mapping[str, str], needle: str) -> list[tuple[str, str]]:
    """Keys and values, those with ``needle`` in either, by key; a long value is cut around the place."""
    wanted = needle.casefold()
    return [
        (plain(key, limit=200), around(value, wanted))
        for key, value in sorted(metadata.items())
        if wanted in key.casefold() or wanted in value.casefold()
    ]


def around(value: str, needle: str) -> str:
    """At most some hundred characters of a value: its beginning, or those around ``needle``."""
    if len(value) <= MAX_CHARS:
        return plain(value)
    begin = max(0, value.casefold().find(needle) - MAX_CHARS // 3) if needle else 0
    return plain(f"{'…' if begin else ''}{value[begin : begin + MAX_CHARS]}…")


def folder_rows(folders: Sequence[DatasetFolder]) -> list[tuple[str, str, str, str]]:
    """Images, repeats and their product by folder, with the sum at the end."""
    rows = [
        (
            folder.name + (" (regularization)" if folder.is_regularization else ""),
            f"{folder.images:,}",
            f"{folder.repeats:,}",
            f"{folder.images * folder.repeats:,}",
        )
        for folder in folders
    ]
    if len(rows) > 1:
        images, seen = (sum(each) for each in zip(*((f.images, f.images * f.repeats) for f in folders), strict=True))
        rows.append(("All", f"{images:,}", "", f"{seen:,}"))
    return rows


@st.fragment
def show_tags(tags: Tags) -> None:
    """Tags of the captions with a filter, and as text to copy."""
    st.header("Tags of the captions", anchor=False)
    if tags.note:
        show_note("ai-toolkit writes its trigger word in place of a tag frequency, so there is none.")
        return
    if not tags.counts:
        show_note("The file counts no tags.")
        return
    show_note("How many captions hold a tag. Frequent tags are suggestions, not trained words.")
    needle = st.text_input("Filter tags", key="tags-filter", placeholder="hair", max_chars=100).strip()
    rows = tag_rows(tags, needle)
    found = count_text(len(rows), "tag", "tags")
    show_note(found if len(rows) <= SHOWN_TAGS else f"The {SHOWN_TAGS} most frequent of {found}")
    if rows:
        bars = [Bar(label=tag, value=count, text=f"{count:,}") for tag, count in rows[:SHOWN_TAGS]]
        st.html(bar_table("Tag", "Captions", bars))
        st.html(copy_buttons([", ".join(tag for tag, _ in rows[:COPIED_TAGS])]))
        if len(rows) > COPIED_TAGS:
            show_note(f"The first {COPIED_TAGS} tags, to copy.")


def show_settings(report: LoraReport) -> None:
    """How it was trained."""
    st.header("Training settings", anchor=False)
    if report.settings:
        rows = [(each.label, setting_text(each)) for each in report.settings]
        with st.container(key="lora-settings"):
            st.markdown(markdown_table(("Setting", "Value"), rows))
    else:
        show_note("The file names no training settings.")


def show_datasets(report: LoraReport) -> None:
    """The folders that were trained on."""
    if report.folders:
        st.header("Datasets", anchor=False)
        with st.container(key="lora-folders"):
            st.markdown(markdown_table(("Folder", "Images", "Repeats", "Per epoch"), folder_rows(report.folders)))


@st.fragment
def show_metadata(report: LoraReport) -> None:
    """Everything that stands in the header, with a search."""
    st.header("Metadata", anchor=False)
    if not report.metadata:
        show_note("The header holds no metadata.")
        return
    label = f"All {count_text(len(report.metadata), 'entry', 'entries')}"
    shown = st.expander(label, icon=":material/data_object:", key="metadata-shown", on_change="rerun")
    if shown.open:
        with shown:
            _show_entries(report.metadata)


def _show_entries(metadata: Mapping[str, str]) -> None:
    needle = st.text_input("Search the metadata", key="metadata-search", max_chars=100).strip()
    rows = entries_with(metadata, needle)
    show_note(count_text(len(rows), "entry", "entries"))
    if rows:
        table = pd.DataFrame(rows[:SHOWN_ENTRIES], columns=["Key", "Value"])
        st.dataframe(table, hide_index=True, width="stretch", height=min(400, 38 + 35 * len(rows)))
