"""/new: start a job in three steps. ?datasetId, more, configId, name, from=<job id> and single values fill it in."""

from functools import partial

import streamlit as st

from lib import services
from lib.jobs.job_request import JobRequest
from lib.sources.protocol import Action
from lib.ui.parts.errors import explained_errors
from lib.ui.parts.notes import show_bad_parameters
from lib.ui.parts.text import escaped
from lib.ui.wizard.dataset_step import entered_dataset, pick_dataset, usual_dataset
from lib.ui.wizard.draft import (
    STEPS,
    DraftData,
    changed_settings,
    chosen_id,
    dataset_problem,
    read_draft,
    settings_problem,
    starting_settings,
    swept_values,
    time_limit_minutes,
    unknown_parameters,
)
from lib.ui.wizard.more_data_fields import more_problem
from lib.ui.wizard.navigation import (
    is_retry,
    load_origin,
    show_navigation,
    show_origin,
    show_steps,
    suggested_name,
)
from lib.ui.wizard.review_step import edit_notify, show_review, show_start
from lib.ui.wizard.settings_step import entered_values, is_complete, show_changes, show_refusal, show_settings

with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
    st.title("New Training Job", anchor=False, width="content")
    steps = st.container(width="content")

if reason := services.reason_against(Action.CREATE):
    st.info(escaped(reason), icon=":material/lock:")

with explained_errors("Failed to load what the wizard needs", retry=True):
    params, origin = st.query_params.to_dict(), load_origin()
    is_unnamed = origin is not None and "name" not in params
    draft = read_draft(
        params,
        origin,
        suggested_name=suggested_name(origin) if origin and is_unnamed else "",
        can_sweep=not services.source().reason_against(Action.SWEEP),
    )
    datasets, configs = services.list_datasets(), services.list_configs()
    usual = "" if draft.dataset_id else usual_dataset(datasets)
    dataset_id = chosen_id(draft.dataset_id, [each.id for each in datasets], usual)
    config_id = chosen_id(draft.config_id, [each.id for each in configs])
    dataset = next((each for each in datasets if each.id == dataset_id), None)
    config = next((each for each in configs if each.id == config_id), None)
    before = starting_settings(config, origin)
    settings, bad_parameters = changed_settings(before, draft.changes)
    settings, swept, sweep_problem = swept_values(settings, draft.swept)
    limit_min, bad_limit = time_limit_minutes(draft.time_limit)

    takes_uploads = not services.reason_against(Action.CHANGE_DATASETS)
    by_id = {each.id: each for each in datasets}
    no_dataset = dataset_problem(dataset, takes_uploads=takes_uploads)
    no_dataset = no_dataset or more_problem(dataset_id, draft.more_data, by_id)
    has_settings = config is not None or origin is not None
    unfinished = settings_problem(
        draft.name, settings, limit_min, has_settings=has_settings, sweep_problem=sweep_problem
    )
    step = min(draft.step, 1 if no_dataset else 2 if unfinished else 3)
    bar = st.bottom.container(gap="xsmall")
    st.header(STEPS[step - 1], anchor=False)
    if origin:
        show_origin(origin)
    show_bad_parameters([*unknown_parameters(params), *bad_parameters, *bad_limit])
    if step == 1:
        pick_dataset(datasets, dataset, draft)
        chosen, entered = {"datasetId": dataset_id}, partial(entered_dataset, draft, by_id)
        with steps:
            show_steps(1, chosen=chosen, entered=entered)
        with bar:
            show_navigation(1, chosen=chosen, entered=entered, problem=no_dataset, is_blocked=bool(no_dataset))
    elif step == 2 and dataset is not None:
        chosen, entered = {"configId": config_id}, partial(entered_values, config_id, before)
        show_settings(dataset, configs, config, draft, settings, limit_min, origin, entered)
        with steps:
            show_steps(2, chosen=chosen, entered=entered, ready=is_complete)
        with bar:
            # A place of its own: what appears there for the first time must not replace the buttons below it.
            with st.container(gap="xsmall"):
                was_refused = show_refusal()
                show_changes(config, settings, draft)
            is_said = (draft.step > 2 or not has_settings) and not was_refused
            show_navigation(
                2,
                chosen=chosen,
                entered=entered,
                problem=unfinished if is_said else "",
                is_blocked=not has_settings,
                ready=is_complete,
            )
    elif dataset is not None:
        with steps:
            show_steps(3, chosen={})
        request = JobRequest(
            name=draft.name.strip(),
            dataset_id=dataset.id,
            config_id=config.id if config else None,
            settings=settings,
            submission_id="preview",
            time_limit_s=None if limit_min is None else 60 * limit_min,
            retry_of=origin.id if origin and is_retry(origin) else None,
            notify=draft.notify,
            more_data=draft.more_data,
        )
        data = DraftData(main=dataset, more=tuple((each, by_id[each.dataset_id]) for each in draft.more_data))
        has_problems = show_review(request, swept, data, config, origin)
        edit_notify(draft.notify)
        with bar:
            show_start(request, swept, blocked=has_problems or bool(reason))
