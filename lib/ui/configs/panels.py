"""Configurations: the list, one of them to edit, and taking them in and out as files."""

from collections.abc import Sequence
from dataclasses import replace

import streamlit as st

from lib import services
from lib.errors import InvalidRequest
from lib.jobs.config_file import export_config, parse_config
from lib.jobs.preset_file import is_preset, parse_preset
from lib.jobs.secret_options import shown_extra
from lib.jobs.setting_kinds import value_text
from lib.jobs.training_settings import MAX_NAME_LENGTH, TrainingConfig, TrainingSettings, settings_payload
from lib.jobs.words import count_text
from lib.sources.protocol import JobSource
from lib.ui.configs.edits import continue_as_new, drop_edit, orphaned_edits, unsaved_edits
from lib.ui.configs.form import save_and_open
from lib.ui.parts.dialogs import act
from lib.ui.parts.errors import explained_errors
from lib.ui.parts.links import NEW_JOB, show_place_link
from lib.ui.parts.settings_form import config_obstacles, trainer_options
from lib.ui.parts.settings_table import setting_rows
from lib.ui.parts.text import escaped, plain
from lib.ui.parts.url import write_params

SHOWN = 20
MAX_SKIP = 1_000_000


def config_summary(settings: TrainingSettings) -> str:
    """``tiny · 10 epochs · learning rate 0.0001 · dim 16 · alpha 8 · batch 1 · 512 px``."""
    parts = [
        settings.trainer,
        settings.base_model,
        count_text(settings.max_steps, "step", "steps")
        if settings.max_steps
        else count_text(settings.epochs, "epoch", "epochs"),
        f"learning rate {value_text(settings.learning_rate)}",
        f"dim {settings.network_dim}, alpha {value_text(settings.network_alpha)}",
        f"batch size {settings.batch_size}",
        f"{settings.resolution} px",
    ]
    return " · ".join(plain(part, limit=80) for part in parts if part)


def copy_name(name: str, taken: Sequence[str]) -> str:
    """``Quick (copy)``, ``Quick (copy 2)``, …: the first that is free and not too long."""
    names = {each.casefold() for each in taken}
    for number in range(1, len(names) + 2):
        ending = " (copy)" if number == 1 else f" (copy {number})"
        candidate = name[: MAX_NAME_LENGTH - len(ending)].rstrip() + ending
        if candidate.casefold() not in names:
            return candidate
    raise AssertionError("one of n + 1 names is free among n")


def file_name(config: TrainingConfig) -> str:
    """A plain file name for the configuration."""
    stem = "".join(char if char.isalnum() or char in "-_" else "-" for char in config.name).strip("-")
    return f"{stem[:60] or 'configuration'}.toml"


def show_config_list(configs: Sequence[TrainingConfig], skip: int) -> None:
    """One page of the configurations, the default one first; each name is a link to its page."""
    skip = min(skip, max(0, len(configs) - 1)) // SHOWN * SHOWN
    st.caption(count_text(len(configs), "configuration", "configurations"))
    unsaved = unsaved_edits()
    for config in configs[skip : skip + SHOWN]:
        with st.container(border=True, gap="xsmall"):
            with st.container(horizontal=True, vertical_alignment="center"):
                name = escaped(config.name, limit=100) or "(no name)"
                show_place_link(f"**{name}**", {"id": config.id})
                if config.is_default:
                    st.badge("Default", icon=":material/star:")
                if config.id in unsaved:
                    _show_unsaved()
            if config.description:
                st.markdown(escaped(config.description, limit=300))
            st.caption(escaped(config_summary(config.settings)))

    if len(configs) > SHOWN:
        with st.container(horizontal=True, vertical_alignment="center"):
            _show_step("Previous page", ":material/chevron_left:", skip - SHOWN, disabled=skip == 0)
            st.markdown(f"Showing {skip + 1}-{min(skip + SHOWN, len(configs))} of {len(configs):,}", width="content")
            _show_step("Next page", ":material/chevron_right:", skip + SHOWN, disabled=skip + SHOWN >= len(configs))


def _show_step(label: str, icon: str, skip: int, *, disabled: bool) -> None:
    target = {"skip": str(skip) if skip > 0 else None}
    st.button(label, icon=icon, disabled=disabled, on_click=write_params, args=(target,))


def show_new_config() -> None:
    """How to add a configuration: a blank form, or a file."""
    with st.container(horizontal=True, vertical_alignment="center"):
        show_place_link("New configuration", {"id": "new"}, icon=":material/add:")
        if "" in unsaved_edits():
            _show_unsaved()
    with st.expander("Import a configuration from a file"), st.form("import-config", border=False):
        label = "An export of this page, a preset of kohya_ss (JSON), or a file of sd-scripts (TOML)"
        uploaded = st.file_uploader(label, type=["toml", "json"], max_upload_size=1, key="config-file")
        if st.form_submit_button("Import"):
            with explained_errors("The configuration was not imported"):
                if uploaded is None:
                    raise InvalidRequest("No file was chosen.")
                content = uploaded.getvalue()
                if is_preset(content):
                    parameters = services.source().parameters("sd-scripts")
                    save_and_open(parse_preset(content, uploaded.name, parameters))
                save_and_open(parse_config(content))


def _show_unsaved() -> None:
    st.badge("Unsaved changes", icon=":material/edit:", color="orange")


def show_orphaned_edits(configs: Sequence[TrainingConfig]) -> None:
    """Offer to keep or discard unsaved changes to a configuration that somebody else deleted."""
    for config_id, edit in orphaned_edits(configs).items():
        name = escaped(edit.before["name"], limit=80)
        st.warning(f"{name} was deleted elsewhere. Your changes to it are kept here.", icon=":material/warning:")
        with st.container(horizontal=True):
            st.button(
                "Continue as a new configuration",
                key=f"continue {config_id}",
                disabled="" in unsaved_edits(),
                help="Save or discard the other new configuration first." if "" in unsaved_edits() else None,
                on_click=_continue_as_new,
                args=(config_id,),
            )
            st.button("Discard changes", key=f"discard {config_id}", on_click=drop_edit, args=(config_id,))


def _continue_as_new(config_id: str) -> None:
    continue_as_new(config_id)
    write_params({"id": "new"})


def show_config_actions(config: TrainingConfig, names: Sequence[str]) -> None:
    """Use, duplicate, make default, delete."""
    with st.container(horizontal=True, vertical_alignment="center"):
        _show_use(config)
        if st.button("Duplicate", icon=":material/content_copy:"):
            copy = replace(config, id="", name=copy_name(config.name, names), is_default=False)
            with explained_errors():
                save_and_open(copy)
        if st.button("Make default", icon=":material/star:", disabled=config.is_default):
            done = f"{escaped(config.name, limit=80)} is the default now"
            act(lambda source: source.configs.save(replace(config, is_default=True)), done=done)
        if st.button("Delete", icon=":material/delete:"):
            _confirm_deletion(config)


def _show_use(config: TrainingConfig) -> None:
    st.page_link(
        NEW_JOB.file,
        label="Use this configuration",
        icon=":material/play_arrow:",
        query_params={"configId": config.id},
    )


def show_obstacles(config: TrainingConfig) -> None:
    """Why the configuration cannot be trained with here, leaving problems of datasets aside."""
    datasets = (each for each in services.list_datasets() if each.image_count != 0 and not each.undecodable)
    if dataset := next(datasets, None):
        for problem in config_obstacles(config.settings, dataset):
            st.warning(escaped(problem), icon=":material/warning:")


def show_export(config: TrainingConfig) -> None:
    """The configuration as a file."""
    st.download_button(
        "Export TOML",
        export_config(config),
        file_name=file_name(config),
        mime="application/toml",
        icon=":material/download:",
        on_click="ignore",
    )


@st.dialog("Delete configuration")
def _confirm_deletion(config: TrainingConfig) -> None:
    st.markdown(f"**{escaped(config.name, limit=100)}** will be deleted for good.")
    st.caption("Jobs that used it keep their own copy of the settings.")
    if st.button("Delete for good", type="primary"):
        done = f"Deleted the configuration {escaped(config.name, limit=80)}"
        act(lambda source: _delete(source, config.id), done=done, then={"id": None})


def _delete(source: JobSource, config_id: str) -> None:
    source.configs.delete(config_id)
    drop_edit(config_id)


def show_read_only_config(config: TrainingConfig) -> None:
    """Every value of a configuration that cannot be changed here."""
    values = settings_payload(config.settings)
    extra = values.pop("extra")
    rows = {row.label: row.value for row in setting_rows(values, trainers=trainer_options(config.settings.trainer))}
    rows |= {key: value_text(value) for key, value in shown_extra(extra).items()}
    _show_use(config)
    st.markdown("\n".join(f"- {escaped(label)}: **{escaped(value, limit=400)}**" for label, value in rows.items()))
