"""What the page about a LoRA file says, as data."""

import math
import re
from dataclasses import replace

import pytest

from lib.errors import ArtifactError
from lib.jobs.job import Artifact, ArtifactKind, Attempt, JobStatus
from lib.jobs.lora_report import Block, DatasetFolder, LoraReport, ModuleGroup, NormsReport, NormsState, Tags
from lib.jobs.resume import Start
from lib.ui.inspect.checkpoints import Checkpoint, chart_rows, checkpoints_of, line_of, state_text
from lib.ui.inspect.contents import around, entries_with, folder_rows, tag_rows
from lib.ui.inspect.modules import block_bars, group_rows
from lib.ui.inspect.norms import damage_text, norm_bars, progress_text
from lib.ui.inspect.tables import Bar, bar_table, markdown_table
from lib.ui.parts.lora_facts import base_model_text, fact_rows

GROUP = ModuleGroup(kind="LoRA", rank=16, alpha=8.0, alpha_from="tensor", scale=0.5, modules=200)
REPORT = LoraReport(
    name="a",
    version="1",
    size_bytes=1 << 20,
    kind="LoRA",
    is_lora=True,
    network_type="LoRA",
    format="kohya sd-scripts",
    groups=(GROUP,),
    dtypes={"F16": 3},
    parameters=1_000,
    blocks=(
        Block(component="unet", name="down_blocks.2", modules=3, parameters=30),
        Block(component="unet", name="down_blocks.10", modules=3, parameters=30),
        Block(component="text_encoder", name="layers.0", modules=2, parameters=20),
    ),
)
NORMS = NormsReport(
    report=REPORT,
    total=2.0,
    by_block={"text_encoder/layers.0": 1.0, "unet/down_blocks.10": 3.0, "unet/down_blocks.2": 2.0},
    by_component={"text_encoder": 1.0, "unet": 3.6},
    largest=(),
    without={},
    nan_values=0,
    inf_values=0,
    not_finite=(),
)


def test_mixed_ranks_are_counted_and_an_unknown_alpha_is_unknown() -> None:
    other = replace(GROUP, rank=8, alpha=None, alpha_from="absent (loaders then use scale 1)", scale=1.0, modules=10)
    facts = dict(fact_rows(replace(REPORT, groups=(GROUP, other))))
    assert facts["Rank"] == "16 (200 modules), 8 (10 modules)"
    assert facts["Alpha"] == "8 (200 modules), unknown (10 modules)"
    assert facts["Effective scale"] == "0.5 (200 modules), 1 (10 modules)"
    assert (facts["Step"], facts["Size"]) == ("–", "1 MB, F16")
    assert group_rows([other]) == [("10", "LoRA", "8", "–", "absent (loaders then use scale 1)", "1")]


def test_a_base_model_from_the_names_of_modules_is_a_guess() -> None:
    assert base_model_text(REPORT) == "unknown"
    assert base_model_text(replace(REPORT, family="SDXL")) == "SDXL (guessed from the names of its modules)"
    assert base_model_text(replace(REPORT, base_model={"ss_sd_model_name": "a.safetensors"})) == "a.safetensors"


def test_blocks_and_norms_keep_the_order_of_the_model() -> None:
    assert [bar.label for bar in block_bars(REPORT.blocks[:2])] == ["down_blocks.2", "down_blocks.10"]
    assert [(bar.label, bar.value, bar.kind) for bar in norm_bars(NORMS)] == [
        ("unet/down_blocks.2", 2.0, "unet"),
        ("unet/down_blocks.10", 3.0, "unet"),
        ("text_encoder/layers.0", 1.0, "text_encoder"),
    ]


def test_bars_are_as_long_as_their_values_and_foreign_labels_are_text() -> None:
    table = bar_table(
        "Block",
        "Modules",
        [
            Bar(label="<img src=x onerror=alert(1)>", value=4, text="4", kind="unet"),
            Bar(label="b", value=1, text="1", kind="te"),
        ],
    )
    assert table.count("<tr>") == 3
    assert "width: 100.0%; background: #3b78c4" in table
    assert "width: 25.0%; background: #c8641e" in table
    assert "<img" not in table
    assert "&lt;img src=x onerror=alert(1)&gt;" in table
    odd = [Bar(label="a", value=value, text="") for value in (0.0, math.inf, math.nan)]
    assert re.findall("width: (.+?)%", bar_table("Block", "Norm", odd)) == ["0.0", "100.0", "0.0"]


def test_damage_is_said_with_its_place() -> None:
    assert damage_text(NORMS) == ""
    damaged = replace(NORMS, nan_values=12, inf_values=3, not_finite=("a.weight",))
    assert damage_text(damaged).startswith("12 NaN and 3 infinite values, as in a.weight.")
    assert progress_text(NormsState()) == "Waiting: another file is being read."
    assert progress_text(NormsState(fraction=0.427)) == "Reading all weights: 42%"


def test_tags_are_filtered_and_metadata_searched_whatever_the_case() -> None:
    tags = Tags(counts={"Red Hair": 2, "smile": 9, "hair": 5})
    assert tag_rows(tags, "HAIR") == [("hair", 5), ("Red Hair", 2)]
    metadata = {"ss_seed": "42", "note": "x" * 5_000 + "needle" + "y" * 5_000}
    assert [key for key, _ in entries_with(metadata, "NEEDLE")] == ["note"]
    assert "needle" in entries_with(metadata, "NEEDLE")[0][1]
    assert len(around("z" * 9_000, "")) < 700


def test_folders_have_a_sum() -> None:
    folders = [
        DatasetFolder(name="10_aria", repeats=10, images=12),
        DatasetFolder(name="1_x", repeats=1, images=5, is_regularization=True),
    ]
    assert folder_rows(folders) == [
        ("10_aria", "12", "10", "120"),
        ("1_x (regularization)", "5", "1", "5"),
        ("All", "17", "", "125"),
    ]


def test_a_cell_cannot_leave_its_table() -> None:
    table = markdown_table(("A", "B"), [("x | y\n![](http://evil.test/a)", "2")])
    assert len(table.splitlines()) == 3
    assert "x \\| y" in table
    assert "](http" not in table


def lora(name: str, epoch: int | None, attempt: int = 1) -> Artifact:
    kind = ArtifactKind.LORA if epoch is None else ArtifactKind.CHECKPOINT
    return Artifact(id=name, name=name, kind=kind, epoch=epoch, attempt=attempt)


def sample(epoch: int, index: int) -> Artifact:
    name = f"e{epoch}-{index}"
    return Artifact(id=name, name=name, kind=ArtifactKind.SAMPLE, epoch=epoch, prompt_index=index)


def test_checkpoints_stand_in_the_order_of_training_with_their_samples() -> None:
    files = [
        lora("final", None),
        lora("b", 10),
        lora("a", 2),
        lora("other", 3, attempt=2),
        sample(2, 1),
        sample(2, 0),
        sample(9, 0),
    ]
    pairs = [(file.name, found and found.name) for file, found in checkpoints_of(files, [1])]
    assert pairs == [("a", "e2-0"), ("b", None), ("final", "e9-0")]
    assert [file.name for file, _ in checkpoints_of(files, [1, 2])] == ["a", "b", "final", "other"]


def test_attempts_that_went_on_from_one_another_are_one_training() -> None:
    def attempt(number: int, before: int | None = None) -> Attempt:
        start = Start(attempt=before, path="state") if before else None
        return Attempt(number=number, status=JobStatus.LOST, start=start)

    attempts = [attempt(1), attempt(2, 1), attempt(3), attempt(4, 2), attempt(5, 3)]
    assert [line_of(attempts, number) for number in (1, 4, 5, 9)] == [[1, 2, 4], [1, 2, 4], [3, 5], [9]]
    norms = NormsState(result=NORMS)
    rows = chart_rows([Checkpoint(file=lora("a", 2, attempt=number), state=norms) for number in (1, 2)])
    assert [row["checkpoint"] for row in rows] == ["Epoch 2 (attempt 1)", "Epoch 2 (attempt 2)"]


def test_a_checkpoint_says_what_is_known_of_it() -> None:
    file = lora("a", 2)
    assert state_text(Checkpoint(file=file)) == "Norm not computed"
    assert state_text(Checkpoint(file=file, problem="The file is empty.")) == "The file is empty."
    assert state_text(Checkpoint(file=file, state=NormsState(problem=ArtifactError("It is gone.")))) == "It is gone."
    known = Checkpoint(file=file, state=NormsState(result=NORMS))
    assert state_text(known) == "Norm 2, no NaN"
    damaged = replace(known, state=NormsState(result=replace(NORMS, nan_values=2)))
    assert state_text(damaged) == "Norm 2, 2 values are NaN or infinite"
    assert chart_rows([known, damaged, Checkpoint(file=file)]) == [
        {"checkpoint": "Epoch 2", "norm": 2.0, "damaged": False},
        {"checkpoint": "Epoch 2", "norm": 2.0, "damaged": True},
    ]


@pytest.mark.parametrize("count", [1, 3])
def test_values_that_agree_are_said_once(count: int) -> None:
    assert dict(fact_rows(replace(REPORT, groups=(GROUP,) * count)))["Rank"] == "16"
