"""/new: start a job in three steps. ?datasetId, more, configId, name, from=<job id> and single values fill it in."""

import streamlit as st

from lib import services
from lib.sources.protocol import Action
from lib.ui.parts.errors import explained_errors
from lib.ui.parts.notes import show_bad_parameters
from lib.ui.parts.text import escaped
from lib.ui.wizard.chosen import load_chosen
from lib.ui.wizard.dataset_step import show_dataset_step
from lib.ui.wizard.draft import STEPS
from lib.ui.wizard.navigation import show_origin
from lib.ui.wizard.review_step import show_review_step
from lib.ui.wizard.settings_step import show_settings_step

with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
    st.title("New Training Job", anchor=False, width="content")
    steps = st.container(width="content")

if reason := services.reason_against(Action.CREATE):
    st.info(escaped(reason), icon=":material/lock:")

with explained_errors("Failed to load what the wizard needs", retry=True):
    chosen = load_chosen()
    bar = st.bottom.container(gap="xsmall")
    st.header(STEPS[chosen.step - 1], anchor=False)
    if chosen.origin:
        show_origin(chosen.origin)
    show_bad_parameters(chosen.bad_parameters)
    if chosen.step == 1 or chosen.dataset is None:
        show_dataset_step(chosen, steps, bar)
    elif chosen.step == 2:
        show_settings_step(chosen, chosen.dataset, steps, bar)
    else:
        show_review_step(chosen, chosen.dataset, steps, bar, is_locked=bool(reason))
