"""/new: start a job in three steps. ?datasetId, configId, name, from=<job id> and single values fill it in."""

from functools import partial

import streamlit as st

from lib import services
from lib.jobs.job_request import JobRequest
from lib.jobs.training_settings import setting_problems
from lib.sources.protocol import Action
from lib.ui.parts.errors import explained_errors
from lib.ui.parts.notes import show_bad_parameters
from lib.ui.parts.text import escaped
from lib.ui.wizard.dataset_step import dataset_problem, entered_dataset, pick_dataset, usual_dataset
from lib.ui.wizard.draft import (
    changed_settings,
    chosen_id,
    read_draft,
    starting_settings,
    time_limit_minutes,
    time_limit_problem,
    unknown_parameters,
)
from lib.ui.wizard.navigation import (
    load_origin,
    show_navigation,
    show_steps,
)
from lib.ui.wizard.review_step import show_review
from lib.ui.wizard.settings_step import (
    edit_name,
    edit_time_limit,
    edit_values,
    entered_values,
    is_complete,
    pick_config,
    show_changes,
    show_obstacles,
    show_refusal,
)

st.title("New Training Job")

if reason := services.reason_against(Action.CREATE):
    st.info(escaped(reason), icon=":material/lock:")

with explained_errors("Failed to load what the wizard needs", retry=True):
    origin = load_origin()
    draft = read_draft(st.query_params.to_dict(), origin)
    datasets, configs = services.list_datasets(), services.list_configs()
    usual = "" if draft.dataset_id else usual_dataset(datasets)
    dataset_id = chosen_id(draft.dataset_id, [each.id for each in datasets], usual)
    config_id = chosen_id(draft.config_id, [each.id for each in configs])
    dataset = next((each for each in datasets if each.id == dataset_id), None)
    config = next((each for each in configs if each.id == config_id), None)
    before = starting_settings(config, origin)
    settings, bad_parameters = changed_settings(before, draft.changes)
    limit_min, bad_limit = time_limit_minutes(draft.time_limit)

    is_startable = bool(config or origin) and not setting_problems(settings) and not time_limit_problem(limit_min)
    last_step = 1 if dataset_problem(dataset) else 3 if is_startable else 2
    step = min(draft.step, last_step)
    show_steps(step)
    show_bad_parameters([*unknown_parameters(st.query_params.to_dict()), *bad_parameters, *bad_limit])
    if step == 1:
        pick_dataset(datasets, dataset, draft)
        problem = dataset_problem(dataset)
        show_navigation(step, chosen={"datasetId": dataset_id}, entered=entered_dataset, problem=problem)
    elif step == 2:
        st.caption(f"Dataset: {escaped(dataset.name, limit=80)}" if dataset else "")
        pick_config(configs, config, draft)
        if dataset:
            show_obstacles(config, settings, dataset)
        entered = partial(entered_values, config_id, before)
        edit_name(draft, entered)
        edit_values(settings, config, entered)
        edit_time_limit(limit_min, entered)
        problem = "" if config or origin else "Choose a configuration first."
        show_navigation(step, chosen={"configId": config_id}, entered=entered, problem=problem, ready=is_complete)
        # Below the buttons: what a first change adds must not move the button that is being clicked.
        show_refusal()
        show_changes(config, settings, draft)
    elif dataset is not None:
        request = JobRequest(
            name=draft.name.strip(),
            dataset_id=dataset.id,
            config_id=config.id if config else None,
            settings=settings,
            submission_id="preview",
            time_limit_s=None if limit_min is None else 60 * limit_min,
        )
        show_review(request, dataset, config)
