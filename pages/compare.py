"""/compare: what differs between two to eight jobs, in settings, loss, samples and files. ``?ids=a,b,c``."""

import streamlit as st

from lib.ui.compare.choice import ids_in, names_of, opened_jobs, show_choice, show_jobs
from lib.ui.compare.curves import show_losses
from lib.ui.compare.loras import show_final_loras
from lib.ui.compare.samples import show_samples
from lib.ui.compare.settings import show_settings
from lib.ui.parts.errors import explained_errors
from lib.ui.parts.links import FEWEST_COMPARED
from lib.ui.parts.notes import show_bad_parameters
from lib.ui.parts.url import url_reader

reader = url_reader()
ids = ids_in(reader)
st.title("Compare jobs", anchor=False)
problems = st.container()
jobs = opened_jobs(ids)
names = names_of(jobs)
if len(jobs) >= FEWEST_COMPARED:
    show_jobs(jobs, names)
    with explained_errors("The parameters cannot be compared"):
        show_settings(jobs, names, reader)
    with explained_errors("The losses cannot be compared", retry=True):
        show_losses(jobs, names, reader)
    with explained_errors("The samples cannot be compared", retry=True):
        show_samples(jobs, names, reader)
    with explained_errors("The LoRAs cannot be compared", retry=True):
        show_final_loras(jobs, names)
else:
    st.markdown("Choose two to eight jobs here, or select them in the list and follow **Compare**.")
with explained_errors("The jobs cannot be listed", retry=True):
    show_choice(ids)
with problems:
    show_bad_parameters(reader.problems)
