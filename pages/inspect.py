"""/inspect: what a LoRA file is and holds. ``?job&artifact``, ``?path``, or a file of the visitor's computer.

``?job`` alone lists the LoRA files of the job.
"""

import streamlit as st

from lib.ui.inspect.checkpoints import show_checkpoints
from lib.ui.inspect.choice import job_of, opened_file, place_in_url, show_choice
from lib.ui.inspect.contents import show_datasets, show_metadata, show_settings, show_tags
from lib.ui.inspect.facts import show_facts, show_heading, show_remarks, show_words
from lib.ui.inspect.modules import show_modules
from lib.ui.inspect.norms import show_norms, surest_report

place = place_in_url()
header = opened_file(place)
if header is None:
    show_choice()
    st.stop()
report = surest_report(place, header)
job = job_of(place)
show_heading(report, place, job)
show_facts(report)
if report.is_lora:
    show_words(report.words)
show_remarks(report)
left, right = st.columns(2, gap="large")
if report.is_lora:
    with left:
        show_modules(report)
        show_norms(place, header)
        show_datasets(report)
    with right:
        show_tags(report.tags)
        show_settings(report)
show_metadata(report)
if job is not None and place is not None:
    show_checkpoints(job, place)
with st.expander("Inspect another file", icon=":material/folder_open:"):
    show_choice()
