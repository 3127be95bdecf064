"""Training states as sd-scripts and accelerate leave them: where they go on, and whether they are whole."""

import json
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from lib.embedded.files.availability import FolderUnavailable
from lib.embedded.trainers.kohya_states import kohya_states
from lib.embedded.trainers.recipe import EndedRun, FoundState
from lib.embedded.trainers.sd_scripts import SdScriptsRecipe
from lib.jobs.resume import Start
from lib.jobs.training_settings import TrainingSettings
from tests.embedded.scripted import PAIR, safetensors
from tests.embedded.trainers.test_recipes import make_run

RANK_1 = TrainingSettings(trainer="sd-scripts", base_model="m/sd15", network_dim=1, epochs=3)
BEGAN_AT_9 = Start(attempt=1, path="v1-000003-state", step=9, epoch=3, epochs=6)


def make_state(output: Path, name: str, epoch: int, step: int | None) -> Path:
    """A whole state folder; ``step`` None leaves out what sd-scripts adds to accelerate's files."""
    folder = output / name
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(safetensors("state", *PAIR))
    for file in ("optimizer.bin", "scheduler.bin", "random_states_0.pkl"):
        with zipfile.ZipFile(folder / file, "w") as archive:
            archive.writestr("data.pkl", "x" * 100)
    if step is not None:
        (folder / "train_state.json").write_text(json.dumps({"current_epoch": epoch, "current_step": step}))
    return folder


def only_state(output: Path, **values: object) -> FoundState:
    ended = EndedRun(output_dir=output, settings=RANK_1, steps_per_epoch=3)
    (found,) = kohya_states(replace(ended, **values))  # type: ignore[arg-type]
    return found


@pytest.mark.parametrize(
    ("name", "said", "start", "per_epoch", "expected"),
    [
        ("v1-000002-state", (2, 6), None, 3, (6, 2)),
        ("v1-000002-state", (2, 6), None, None, (6, 2)),
        ("v1-state", (3, 9), None, 3, (9, 3)),
        ("v1-step00000004-state", (2, 4), None, 3, (4, None)),
        # Recorded in sd-resume-plain: the resumed run said step 3 after epoch 2, where 6 is true.
        ("v1-000005-state", (5, 6), BEGAN_AT_9, 3, (15, 5)),
        ("v1-step00000004-state", (5, 4), BEGAN_AT_9, 3, (13, None)),
        # The run went on from a state that its options name: only the epoch tells.
        ("v1-000002-state", (2, 3), None, 3, (6, 2)),
        # musubi-tuner writes no train_state.json.
        ("v1-000002-state", (2, None), None, 3, (6, 2)),
        ("v1-step00000004-state", (2, None), None, 3, (4, None)),
        ("v1-000001-state", (4, None), BEGAN_AT_9, 3, (12, 4)),
        ("v1-state", (6, None), BEGAN_AT_9, 3, (18, 6)),
    ],
)
def test_a_state_goes_on_at_the_step_of_the_whole_training(
    tmp_path: Path,
    name: str,
    said: tuple[int, int | None],
    start: Start | None,
    per_epoch: int | None,
    expected: tuple[int, int | None],
) -> None:
    make_state(tmp_path, name, *said)
    found = only_state(tmp_path, start=start, steps_per_epoch=per_epoch, last_step=18)
    assert (found.path, found.step, found.epoch, found.problem) == (name, *expected, "")


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.bin", "random_states_0.pkl"])
@pytest.mark.parametrize("kept_bytes", [None, 0, 60])
def test_a_state_that_was_half_written_is_named(tmp_path: Path, file: str, kept_bytes: int | None) -> None:
    folder = make_state(tmp_path, "v1-000002-state", 2, 6)
    data = (folder / file).read_bytes()
    (folder / file).unlink()
    if kept_bytes is not None:
        (folder / file).write_bytes(data[:kept_bytes])
    assert only_state(tmp_path).problem == f"It was only half written: {file} is missing or incomplete."


def test_a_state_of_another_rank_or_without_a_step_is_named(tmp_path: Path) -> None:
    make_state(tmp_path, "v1-000002-state", 2, 6)
    of_another_rank = replace(RANK_1, network_dim=16)
    assert only_state(tmp_path, settings=of_another_rank).problem == "It is of rank 1, but the job trains rank 16."
    assert only_state(tmp_path, settings=replace(of_another_rank, network_module="LoKr")).problem == ""
    shutil.rmtree(tmp_path / "v1-000002-state")
    make_state(tmp_path, "v1-state", 3, None)
    assert only_state(tmp_path).problem == "It does not say at which step it was saved."


def test_only_folders_of_the_run_are_states(tmp_path: Path) -> None:
    ended = EndedRun(output_dir=tmp_path / "output", settings=RANK_1)
    assert kohya_states(ended) == []
    make_state(tmp_path, "elsewhere-state", 1, 3)
    (tmp_path / "output").mkdir()
    (tmp_path / "output" / "link-state").symlink_to(tmp_path / "elsewhere-state")
    (tmp_path / "output" / "file-state").touch()
    assert kohya_states(ended) == []


def test_states_that_cannot_be_listed_are_not_taken_for_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", fail)
    with pytest.raises(FolderUnavailable, match="cannot be reached: Permission denied"):
        kohya_states(EndedRun(output_dir=tmp_path, settings=RANK_1))


def test_sd_scripts_goes_on_from_a_state_and_is_told_the_step_where_the_state_is_wrong(tmp_path: Path) -> None:
    settings = replace(RANK_1, network_weights="/w.safetensors", extra={"resume": "/old", "clip_skip": 2})
    folder = make_state(tmp_path, "v1-000002-state", 2, 6)
    start = Start(attempt=1, path=folder.name, step=6, epoch=2, epochs=5)
    run = make_run(tmp_path, start.applied(settings), start=start, start_path=folder)
    command = SdScriptsRecipe(None).command(run)
    assert command[-1] == f"--resume={folder}"
    assert "--max_train_epochs=5" in command
    assert not any(part.startswith(("--network_weights", "--resume=/old")) for part in command)
    assert "--clip_skip=2" in command
    again = replace(run, start=replace(start, step=15, epoch=5))
    assert SdScriptsRecipe(None).command(again)[-2:] == [f"--resume={folder}", "--initial_step=15"]


def test_sd_scripts_goes_on_with_the_weights_of_an_epoch(tmp_path: Path) -> None:
    start = Start(attempt=1, path="v1-000002.safetensors", is_state=False, step=6, epoch=2)
    run = make_run(tmp_path, RANK_1, start=start, start_path=tmp_path / start.path)
    command = SdScriptsRecipe(None).command(run)
    assert command[-2:] == [f"--network_weights={tmp_path / start.path}", "--initial_step=6"]
    assert "--max_train_epochs=3" in command
