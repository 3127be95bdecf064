"""/configs: all configurations; with ?id=… one of them to use, edit, copy, export or delete (id=new: a blank one)."""

import streamlit as st

from lib import services
from lib.sources.protocol import Action
from lib.ui.configs.edits import blank_config
from lib.ui.configs.form import show_config_form, show_leave_guard
from lib.ui.configs.panels import (
    MAX_SKIP,
    show_config_actions,
    show_config_list,
    show_export,
    show_new_config,
    show_obstacles,
    show_orphaned_edits,
    show_read_only_config,
)
from lib.ui.parts.errors import explained_errors
from lib.ui.parts.links import show_place_link
from lib.ui.parts.text import escaped, plain
from lib.ui.parts.url import url_reader

url = url_reader()
config_id, skip = url.text("id"), url.whole_number("skip", 0, minimum=0, maximum=MAX_SKIP)
read_only = services.reason_against(Action.CHANGE_CONFIGS)

if config_id:
    show_place_link("All configurations", {"id": None}, icon=":material/arrow_back:")
else:
    st.title("Configurations")
if read_only:
    st.info(escaped(read_only), icon=":material/lock:")

with explained_errors("Failed to load the configurations", retry=True):
    configs = services.list_configs()
    show_orphaned_edits(configs)
    if config_id == "new" and not read_only:
        st.title("New configuration")
        show_config_form(blank_config())
    elif config_id:
        config = services.source().configs.get(config_id)
        st.set_page_config(page_title=f"{plain(config.name, limit=80)} · Configurations")
        st.title(escaped(config.name, limit=120))
        show_obstacles(config)
        if read_only:
            show_read_only_config(config)
        else:
            show_config_actions(config, [each.name for each in configs])
            show_config_form(config)
        show_export(config)
    else:
        if not read_only:
            show_new_config()
        if not configs:
            st.info("No configurations yet.")
        show_config_list(configs, skip)
show_leave_guard()
