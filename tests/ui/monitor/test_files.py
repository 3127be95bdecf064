"""Files, links, samples and settings of a job, in words."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from lib.jobs.job import Artifact, ArtifactKind, Attempt, JobStatus, PresignedUrl
from lib.jobs.training_settings import TrainingConfig, TrainingSettings
from lib.ui.monitor.artifacts import LinkState, link_state
from lib.ui.monitor.details import command_text, without_secrets
from lib.ui.monitor.samples import sample_caption, sample_rows
from lib.ui.parts.artifact_order import file_text, listed_files
from lib.ui.parts.samples import sample_url
from lib.ui.parts.settings_table import setting_rows, settings_table

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def make_file(name: str, kind: ArtifactKind = ArtifactKind.CHECKPOINT, **values: object) -> Artifact:
    return Artifact(id=f"1/{name}", name=name, kind=kind, **values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("left", "state"),
    [
        (timedelta(minutes=3), LinkState(text="URL expires in 3 minutes", needs_care=True)),
        (timedelta(minutes=2, seconds=55), LinkState(text="URL expires in 3 minutes", needs_care=True)),
        (timedelta(minutes=1), LinkState(text="URL expires in 1 minute", needs_care=True)),
        (timedelta(seconds=9), LinkState(text="URL expires in less than a minute", needs_care=True)),
        (timedelta(0), LinkState(text="URL expired", is_expired=True, needs_care=True)),
        (timedelta(minutes=5), LinkState(text="URL works until 23 Nov 2026, 12:05:00 UTC")),
    ],
)
def test_how_long_a_frozen_link_works(left: timedelta, state: LinkState) -> None:
    link = PresignedUrl(url="https://s", expires_at=NOW + left)
    assert link_state(make_file("a", frozen_link=link), NOW) == state


def test_a_link_signed_at_the_click_needs_no_words() -> None:
    endless = PresignedUrl(url="https://s", expires_at=None)
    assert link_state(make_file("a"), NOW) == link_state(make_file("a", frozen_link=endless), NOW) == LinkState()


def test_the_final_file_comes_first_then_the_newest_checkpoint() -> None:
    files = [
        make_file("e1", epoch=1),
        make_file("sample.png", ArtifactKind.SAMPLE, epoch=1),
        make_file("e2", epoch=2),
        make_file("final", ArtifactKind.LORA),
        make_file("state", ArtifactKind.STATE),
        make_file("other attempt", attempt=2),
    ]
    attempt = Attempt(number=1, status=JobStatus.SUCCEEDED)
    assert [file.name for file in listed_files(files, attempt)] == ["final", "e2", "e1", "state"]
    assert [file.name for file in listed_files(files, attempt, best=files[0].id)] == ["e1", "final", "e2", "state"]


def test_a_file_in_words() -> None:
    assert file_text(make_file("a", epoch=3, size_bytes=524_288_000)) == "Checkpoint · 500 MB · epoch 3"
    assert file_text(make_file("a", step=1_200)) == "Checkpoint · step 1,200"
    assert file_text(make_file("a", ArtifactKind.OTHER)) == "File"


def test_samples_stand_by_epoch_and_prompt_newest_first() -> None:
    shots = [(1, 1), (2, 0), (1, 0), (2, 1)]
    files = [
        make_file(f"{epoch}-{index}", ArtifactKind.SAMPLE, epoch=epoch, prompt_index=index) for epoch, index in shots
    ]
    files += [make_file("s9", ArtifactKind.SAMPLE, step=9), make_file("loose", ArtifactKind.SAMPLE)]
    assert [(row.title, [sample.name for sample in row.samples]) for row in sample_rows(files)] == [
        ("Epoch 2", ["2-0", "2-1"]),
        ("Epoch 1", ["1-0", "1-1"]),
        ("Step 9", ["s9"]),
        ("Samples without an epoch", ["loose"]),
    ]


def test_a_sample_is_named_by_its_prompt() -> None:
    assert sample_caption(make_file("a.png", prompt="a red\nfox", prompt_index=1)) == "a red fox"
    assert sample_caption(make_file("a.png", prompt_index=1)) == "Prompt 2"
    assert sample_caption(make_file("a.png")) == "a.png"
    assert sample_url("https://lab:8501/job", "j 1", "1/é.png") == (
        "https://lab:8501/download/j%201/1/%C3%A9.png?inline=1"
    )
    assert sample_url(None, "j", "a") == "/download/j/a?inline=1"


def test_settings_beside_what_the_configuration_says() -> None:
    settings = {
        "trainer": "tiny",
        "epochs": 3,
        "learning_rate": 1e-4,
        "sample_prompts": ["a | b"],
        "odd_key": 7,
        "odd_text": "",
    }
    config = TrainingConfig(id="c", name="c", settings=TrainingSettings(epochs=10, sample_prompts=("a | b",)))
    rows = {row.label: (row.value, row.configured) for row in setting_rows(settings, config)}
    assert rows == {
        "Trainer": ("tiny", ""),
        "Epochs": ("3 passes over the dataset", "10"),
        "Learning rate": ("0.0001", ""),
        "Sample prompts": ("a | b", ""),
        "Odd key": ("7", ""),
    }
    table = settings_table(setting_rows(settings, config)).splitlines()
    assert "| Epochs | :orange[**3 passes over the dataset**, changed: the configuration says 10] |" in table
    assert "| Sample prompts | a \\| b |" in table
    assert setting_rows(settings)[1].configured == ""


def test_the_command_line_can_be_pasted_into_a_shell() -> None:
    assert command_text(("train", "--name", "Aria v1; rm -rf /")) == "train --name 'Aria v1; rm -rf /'"


def test_no_secret_among_further_options_is_shown() -> None:
    settings = {"epochs": 5, "extra": {"wandb_api_key": "s3cret", "keep_tokens": 2}}
    shown = [row.value for row in setting_rows(settings)]
    assert shown == ["5 passes over the dataset", "wandb_api_key = (not shown), keep_tokens = 2"]
    shown = {"epochs": 5, "extra": {"wandb_api_key": "(not shown)", "keep_tokens": 2}}
    # One source keeps the settings as JSON, the other as they are.
    raw = without_secrets({"settings": json.dumps(settings), "config": settings})
    assert raw == {"settings": shown, "config": shown}
    others = without_secrets({"accessToken": "s3cret", "key": "jobs/j/aria", "extra": {}})
    assert others == {"accessToken": "(not shown)", "key": "jobs/j/aria", "extra": {}}


def test_raw_data_holds_no_signed_link_and_no_endless_text() -> None:
    shown = without_secrets(
        {"a": [{"url": "https://s/k?X-Amz-Signature=secret"}], "log": "x" * 9_999, "many": list(range(300)), "n": None}
    )
    assert shown["a"] == [{"url": "(signed link, not shown)"}]
    assert len(shown["log"]) == 2_001
    assert shown["many"][-1] == "… 100 more"
    assert shown["n"] is None
