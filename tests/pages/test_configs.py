"""The configurations page in every state."""

from dataclasses import replace

import pytest

from lib import services
from lib.errors import InvalidRequest, SourceUnavailable
from lib.jobs.dataset import Dataset
from lib.jobs.job import Job, JobStatus
from lib.jobs.training_settings import SETTINGS, Parameter, TrainingConfig, TrainingSettings
from lib.sources.memory import MemoryConfigs
from lib.sources.protocol import Action, Preview
from tests.pages.reading import button, labels, texts

FOREIGN = "<i>x</i> ![](http://x.example/y.png) \u202e"


@pytest.fixture
def filled(source):
    settings = TrainingSettings(epochs=9, extra={"clip_skip": 2}, sample_prompts=("a dot",))
    source.configs.kept = {
        "c1": TrainingConfig(id="c1", name="Quick", settings=settings, is_default=True),
        "c2": TrainingConfig(id="c2", name=FOREIGN, settings=TrainingSettings(trainer="unheard-of")),
    }
    return source


def field(app, label):
    return next(each for each in [*app.text_input, *app.number_input, *app.text_area] if each.label == label)


def test_the_list_shows_every_configuration(filled, open_page):
    app = open_page("configs")
    assert not app.exception
    assert "2 configurations" in texts(app)
    assert "tiny · 9 epochs" in texts(app)


def test_an_empty_list_offers_to_make_one(source, open_page):
    assert "No configurations yet" in texts(open_page("configs"))


def test_a_change_is_saved(filled, open_page):
    app = open_page("configs", id="c1")
    field(app, "Epochs").set_value(12)
    field(app, "Further options as TOML").set_value("clip_skip = 1\nfp8 = true")
    app = button(app, "Save configuration").click().run()
    assert not app.error
    assert [each.value for each in app.toast] == ["Saved Quick"]
    assert "Unsaved" not in texts(app)
    settings = filled.configs.kept["c1"].settings
    assert (settings.epochs, settings.extra) == (12, {"clip_skip": 1, "fp8": True})
    assert settings.sample_prompts == ("a dot",)


def test_a_blank_one_is_created_and_a_taken_name_is_refused(filled, open_page):
    app = open_page("configs", id="new")
    field(app, "Name").set_value("Quick")
    app = button(app, "Save configuration").click().run()
    assert "exists already" in texts(app)
    assert len(filled.configs.kept) == 2
    field(app, "Name").set_value("Slow")
    button(app, "Save configuration").click().run()
    assert [config.name for config in filled.configs.kept.values()] == ["Quick", FOREIGN, "Slow"]


def test_further_options_that_are_no_toml_name_their_key(filled, open_page):
    app = open_page("configs", id="c1")
    field(app, "Further options as TOML").set_value("clip_skip")
    app = button(app, "Save configuration").click().run()
    assert "Further options as TOML: Not TOML" in texts(app)
    assert filled.configs.kept["c1"].settings.extra == {"clip_skip": 2}


def test_errors_are_those_of_the_present_text(filled, open_page):
    app = open_page("configs", id="c1")
    app = field(app, "Further options as TOML").set_value("clip_skip").run()
    assert "Not TOML" in texts(app)
    app = button(app, "Save configuration").click().run()
    assert app.error
    app = field(app, "Epochs").set_value(0).run()
    assert not app.error, "what was wrong when it was tried to save is not what is wrong now"
    assert "Must be between 1 and 1000" in texts(app)
    assert "Not TOML" in texts(app), "the text is still what it was"
    app = field(app, "Further options as TOML").set_value("clip_skip = 1").run()
    assert "Not TOML" not in texts(app)
    app = button(app, "Save configuration").click().run()
    assert [each.value.count("\n- ") for each in app.error] == [1]
    assert "Epochs: Must be between" in texts(app)
    field(app, "Epochs").set_value(3)
    app = button(app, "Save configuration").click().run()
    assert not app.error
    assert (filled.configs.kept["c1"].settings.epochs, filled.configs.kept["c1"].settings.extra) == (
        3,
        {"clip_skip": 1},
    )


def test_a_name_over_the_limit_stays_as_typed_and_the_limit_is_said(filled, open_page):
    app = open_page("configs", id="c1")
    field(app, "Name").set_value("n" * 101)
    app = button(app, "Save configuration").click().run()
    assert texts(app).count("The name has 101 characters; at most 100 are allowed.") == 2
    assert field(app, "Name").value == "n" * 101
    assert filled.configs.kept["c1"].name == "Quick"


def test_unsaved_changes_are_shown_and_kept_while_other_pages_are_looked_at(filled, open_page):
    app = open_page("configs", id="c1")
    assert "Unsaved" not in texts(app)
    app = field(app, "Epochs").set_value(12).run()
    assert "**Unsaved changes:** Epochs" in texts(app)
    app = button(app, "All configurations").click().run()
    assert texts(app).count("Unsaved changes") == 1
    app = button(app, "New configuration").click().run()
    app = field(app, "Name").set_value("Half done").run()
    app = button(app, "All configurations").click().run()
    app = app.switch_page("../pages/datasets.py").run()
    app = app.switch_page("../pages/configs.py").run()
    assert texts(app).count("Unsaved changes") == 2
    app = button(app, "**Quick**").click().run()
    assert field(app, "Epochs").value == 12
    assert filled.configs.kept["c1"].settings.epochs == 9
    app = button(app, "Discard changes").click().run()
    assert (field(app, "Epochs").value, "Unsaved" in texts(app)) == (9, False)
    app = button(app, "All configurations").click().run()
    app = button(app, "New configuration").click().run()
    assert field(app, "Name").value == "Half done"


def saved_elsewhere(source, *, description="", **settings):
    """Another visitor saves the configuration c1."""
    before = source.configs.kept["c1"]
    theirs = replace(before, description=description, settings=replace(before.settings, **settings))
    return services.act(lambda source: source.configs.save(theirs))


def test_saving_over_what_somebody_else_saved_is_asked(filled, open_page):
    app = open_page("configs", id="c1")
    field(app, "Description").set_value("mine")
    app = field(app, "Seed").set_value(7).run()
    theirs = saved_elsewhere(filled, description="theirs", epochs=5)
    app = button(app, "Save configuration").click().run()
    assert filled.configs.kept["c1"] == theirs
    assert "Somebody else saved this configuration after you began" in texts(app)
    assert "**Unsaved changes:** Description, Seed" in texts(app)
    newer = saved_elsewhere(filled, description="newer", epochs=6)
    app = button(app, "Overwrite").click().run()
    assert filled.configs.kept["c1"] == newer, "agreed was to what was stored then"
    app = button(app, "Overwrite").click().run()
    assert [each.value for each in app.toast] == ["Saved Quick"]
    saved = filled.configs.kept["c1"]
    assert (saved.description, saved.settings.seed, saved.settings.epochs) == ("mine", 7, 9)
    assert not app.warning
    saved_elsewhere(filled, description="last")
    assert field(app.run(), "Description").value == "last", "where nothing was typed, what is stored is shown"


def test_what_somebody_else_saved_can_be_loaded_instead(filled, open_page):
    app = field(open_page("configs", id="c1"), "Seed").set_value(7).run()
    theirs = saved_elsewhere(filled, description="theirs", epochs=5)
    # As one from before secrets were refused.
    theirs = replace(theirs, settings=replace(theirs.settings, extra={"hf_token": "hf_123"}))
    filled.configs.kept["c1"] = theirs
    app = app.run()
    assert button(app, "Save configuration").disabled
    assert "hf_123" not in texts(app)
    app = button(app, "Reload, and lose my changes").click().run()
    assert (field(app, "Epochs").value, field(app, "Seed").value) == (5, 42)
    assert not app.warning
    assert filled.configs.kept["c1"] == theirs
    assert "Cannot hold a secret" in texts(app), "what is stored must be mended before it is saved again"


def test_changes_to_a_configuration_that_somebody_deleted_can_go_on_as_a_new_one(filled, open_page):
    app = field(open_page("configs", id="c1"), "Epochs").set_value(12).run()
    del filled.configs.kept["c1"]
    services.forget_reads()
    app = button(app, "Save configuration").click().run()
    assert "Quick was deleted elsewhere" in texts(app)
    assert "c1" not in filled.configs.kept
    app = button(app, "Continue as a new configuration").click().run()
    app = button(app, "Save configuration").click().run()
    assert [(each.name, each.settings.epochs) for each in filled.configs.kept.values()][1:] == [("Quick", 12)]
    assert "deleted elsewhere" not in texts(app)


def test_a_duplicate_is_a_new_one_that_is_not_the_default(filled, open_page):
    button(open_page("configs", id="c1"), "Duplicate").click().run()
    copy = next(config for config in filled.configs.kept.values() if config.name == "Quick (copy)")
    assert copy.settings == filled.configs.kept["c1"].settings
    assert [config.is_default for config in filled.configs.kept.values()] == [True, False, False]


def test_there_is_one_default(filled, open_page):
    app = open_page("configs", id="c2")
    assert not app.exception
    app = button(app, "Make default").click().run()
    assert [each.value.split(" is ")[1] for each in app.toast] == ["the default now"]
    assert [config.is_default for config in filled.configs.kept.values()] == [False, True]


def test_deleting_asks_first_and_is_refused_while_a_job_uses_it(filled, open_page):
    job = Job(id="j1", name="runs", status=JobStatus.RUNNING, config_id="c1")
    filled.add(job)
    app = button(open_page("configs", id="c1"), "Delete").click().run()
    assert "c1" in filled.configs.kept
    button(app, "Delete").click()  # AppTest runs whole pages: what opened the dialog is pressed with it
    app = button(app, "Delete for good").click().run()
    assert "used by a job" in texts(app)
    assert "c1" in filled.configs.kept
    filled.jobs.clear()
    app = button(open_page("configs", id="c1"), "Delete").click().run()
    button(app, "Delete").click()
    app = button(app, "Delete for good").click().run()
    assert [each.value for each in app.toast] == ["Deleted the configuration Quick"]
    assert set(filled.configs.kept) == {"c2"}


def test_foreign_names_are_only_text(filled, open_page):
    for app in (open_page("configs"), open_page("configs", id="c2")):
        assert not app.exception
        assert not any("![](" in str(each.value) for each in [*app.title, *app.markdown, *app.caption])


def test_a_fraction_where_a_whole_number_belongs_is_neither_rounded_nor_saved(filled, open_page):
    odd = replace(filled.configs.kept["c1"].settings, network_dim=0.5)
    filled.configs.kept["c1"] = replace(filled.configs.kept["c1"], settings=odd)
    app = open_page("configs", id="c1")
    assert (field(app, "Network dim (rank)").value, "Unsaved" in texts(app)) == (0.5, False)
    app = button(app, "Save configuration").click().run()
    assert "Network dim (rank): Must be between 1 and 1000000." in texts(app)
    field(app, "Network dim (rank)").set_value(4.0)
    app = button(app, "Save configuration").click().run()
    assert not app.error
    assert repr(filled.configs.kept["c1"].settings.network_dim) == "4"


class RefusingConfigs(MemoryConfigs):
    """Refuses every value of one setting."""

    def save(self, config):
        raise InvalidRequest("It cannot be saved.", fields={"network_dim": "Too large."})


def test_a_refusal_of_the_source_names_the_fields_by_their_labels(filled, open_page):
    kept, filled.configs = filled.configs.kept, RefusingConfigs(filled)
    filled.configs.kept = kept
    app = button(open_page("configs", id="c1"), "Save configuration").click().run()
    assert "- Network dim (rank): Too large." in texts(app)


def test_what_stands_against_a_configuration_is_said_on_its_page(filled, open_page):
    filled.datasets.kept = {"d1": Dataset(id="d1", name="Alpha", image_count=16)}
    filled.on_preview = lambda request: Preview(problems=(f"no {request.settings.trainer}",))
    assert [each.value for each in open_page("configs", id="c2").warning] == ["no unheard\\-of"]


def test_a_configuration_that_is_gone_is_said(filled, open_page):
    assert "no such configuration" in texts(open_page("configs", id="gone"))


def test_a_source_that_keeps_none_shows_them_and_says_why(filled, open_page):
    filled.refused = {Action.CHANGE_CONFIGS: "Configurations are kept elsewhere."}
    settings = replace(filled.configs.kept["c1"].settings, extra={"hf_token": "hf_123"})
    filled.configs.kept["c1"] = replace(filled.configs.kept["c1"], settings=settings)
    listed = open_page("configs")
    assert "kept elsewhere" in texts(listed)
    assert [each.label for each in listed.button][:1] == ["**Quick**"]
    assert len(listed.button) == 2, "only the ways to what there is"
    one = open_page("configs", id="c1")
    assert "Epochs: **9 passes over the dataset**" in texts(one)
    assert "hf_token: **(not shown)**" in texts(one)
    assert "hf_123" not in texts(one)
    assert not one.text_input


def test_a_source_that_is_down_is_said(filled, open_page):
    filled.failing = SourceUnavailable("The source does not answer.")
    app = open_page("configs")
    assert "The source does not answer" in texts(app)
    assert not app.exception


def test_many_configurations_are_shown_in_pages(source, open_page):
    made = (TrainingConfig(id=f"c{n:03d}", name=f"Config {n:03d}", settings=TrainingSettings()) for n in range(351))
    source.configs.kept = {config.id: config for config in made}
    app = open_page("configs")
    assert "351 configurations" in texts(app)
    assert "Showing 1-20 of 351" in texts(app)
    names = [label for label in labels(app) if "Config " in label]
    assert (len(names), names[-1]) == (20, "**Config 019**")
    assert button(app, "Previous page").disabled
    app = button(app, "Next page").click().run()
    assert "Showing 21-40 of 351" in texts(app)
    app = open_page("configs", skip="9999")
    assert "Showing 341-351 of 351" in texts(app)
    assert button(app, "Next page").disabled


def test_forms_follow_what_the_trainers_of_the_source_use(source, open_page):
    source.trainers = {"kohya": "kohya (run elsewhere)"}
    source.used_settings = frozenset(SETTINGS) - {"repeats", "sample_prompts"}
    app = open_page("configs", id="new")
    assert app.selectbox[0].value == "kohya"
    fields = {each.label: each.disabled for each in [*app.number_input, *app.text_area]}
    assert {label for label, is_disabled in fields.items() if is_disabled} == {
        "Repeats",
        "Sample prompts, one per line",
    }
    assert texts(app).count(f"{source.name} does not use this.") == 2
    assert "Unsaved" not in texts(app)
    field(app, "Name").set_value("Mine")
    app = button(app, "Save configuration").click().run()
    (saved,) = source.configs.kept.values()
    assert (saved.name, saved.settings) == ("Mine", TrainingSettings(trainer="kohya"))


def test_a_preset_of_another_program_becomes_a_configuration(filled, open_page):
    filled.parameters = lambda _trainer: {"optimizer": Parameter(name="optimizer_type", choices=("AdamW", "Prodigy"))}
    app = open_page("configs")
    preset = b'{"optimizer_type": "prodigy", "max_resolution": "768,768", "odd": 1}'
    app.file_uploader[0].set_value(("fox.json", preset, "application/json"))
    app = button(app, "Import").click().run()
    (saved,) = [each for each in filled.configs.kept.values() if each.name == "fox"]
    assert (saved.settings.optimizer, saved.settings.resolution) == ("Prodigy", 768)
    assert saved.description == "Imported from a preset. Not taken over: odd."
    assert not app.error
