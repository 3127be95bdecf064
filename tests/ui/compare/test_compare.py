"""What the comparison of jobs says, as data: parameters, curves, results, samples, LoRAs."""

import math
from dataclasses import replace

import pytest

from lib.jobs.job import Artifact, ArtifactKind, Attempt, JobStatus, LossPoint, Progress
from lib.jobs.logs.loss_curve import LossCurve, loss_curve
from lib.jobs.logs.losses import smoothed
from lib.jobs.lora_report import LoraReport
from lib.jobs.machine import GpuUse, MachineUse
from lib.jobs.more_data import MoreData
from lib.ui.compare.choice import ids_in, names_of
from lib.ui.compare.curves import curve_frame, curves_spec, readable_domain, result_rows, x_values
from lib.ui.compare.loras import different_rows, final_lora
from lib.ui.compare.samples import prompts_of, sample_set
from lib.ui.compare.settings import parameter_rows, parameter_table
from lib.ui.parts.url import UrlReader
from tests.making import make_job

POINTS = tuple(LossPoint(step=step, loss=1 / step + step % 5 / 100, at=1e9 + 36 * step) for step in range(1, 2_001))


def test_ids_keep_their_order_and_come_once() -> None:
    reader = UrlReader(params={"ids": "b, a,b,,c"})
    assert ids_in(reader) == ["b", "a", "c"]
    assert reader.problems == []
    many = UrlReader(params={"ids": ",".join(map(str, range(9)))})
    assert len(ids_in(many)) == 8
    assert many.problems


def test_jobs_of_the_same_name_are_told_apart() -> None:
    jobs = [make_job(1, name="Aria"), make_job(2, name="Aria"), make_job(3, name="Parameter"), make_job(4, name="B")]
    assert names_of(jobs) == ["Aria (job-001)", "Aria (job-002)", "Parameter (job-003)", "B"]


def test_parameters_have_units_and_unknown_is_unknown() -> None:
    first = make_job(1, dataset_name="A", settings={"epochs": 10, "batch_size": 1, "extra": {"lora_dropout": 0.1}})
    second = make_job(2, dataset_name="A", settings={"epochs": 10, "batch_size": 4, "odd": 1})
    rows = {row.label: row for row in parameter_rows([first, second])}
    assert rows["Batch size"].values == ("1 image per step", "4 images per step")
    assert [label for label, row in rows.items() if row.differs] == ["Batch size", "odd", "lora_dropout"]
    assert rows["lora_dropout"].values == ("0.1", "–")
    assert not rows["Dataset"].differs
    table = parameter_table(list(rows.values()), ["one", "two"])
    assert list(table.columns) == ["Group", "Parameter", "one", "two"]


def test_a_job_of_one_dataset_has_no_further_ones_which_is_known() -> None:
    several = make_job(1, more_data=(MoreData(dataset_id="d", name="Dog", repeats=5),))
    rows = {row.label: row.values for row in parameter_rows([several, make_job(2)])}
    assert rows["Further datasets"] == ("Dog, 5 repeats", "none")
    assert "Further datasets" not in {row.label for row in parameter_rows([make_job(1), make_job(2)])}


def test_long_values_differ_although_they_are_cut() -> None:
    jobs = [make_job(at, settings={"sample_prompts": ["x" * 400 + str(at)]}) for at in (1, 2)]
    (row,) = (row for row in parameter_rows(jobs) if row.label == "Sample prompts")
    assert row.differs
    assert max(len(value) for value in parameter_table([row], ["a", "b"]).iloc[0]) <= 300


def test_secrets_among_further_options_are_not_shown() -> None:
    jobs = [make_job(at, settings={"extra": {"wandb_api_key": f"secret{at}"}}) for at in (1, 2)]
    assert "secret" not in str(parameter_rows(jobs))


def test_a_curve_is_smoothed_as_everywhere_and_keeps_its_extremes() -> None:
    curve = loss_curve(POINTS, weight=0.9, most_points=5_000)
    assert curve.losses == pytest.approx([point.loss for point in smoothed(POINTS, 0.9)])
    thin = loss_curve(POINTS, weight=0, most_points=100)
    assert len(thin.steps) <= 100
    assert (thin.steps[0], thin.steps[-1]) == (1, 2_000)
    losses = [point.loss for point in POINTS]
    assert (max(thin.losses), min(thin.losses)) == (max(losses), min(losses))
    assert (thin.minimum, thin.final) == (min(losses), losses[-1])


def test_a_curve_counts_what_is_no_number() -> None:
    points = [LossPoint(step=1, loss=math.nan), LossPoint(step=2, loss=1.0), LossPoint(step=3, loss=math.inf)]
    curve = loss_curve(points, weight=0.5, most_points=10)
    assert (curve.steps, curve.not_finite, curve.final) == ((2,), 2, math.inf)
    assert loss_curve(points[2:], weight=0.5, most_points=10) == LossCurve(not_finite=1, final=math.inf)


def test_the_axis_is_step_epoch_or_time() -> None:
    curve = LossCurve(steps=(100, 200), losses=(1.0, 2.0), times=(1e9, 1e9 + 3_600))
    known = Progress(total_steps=400, total_epochs=8)
    assert x_values(curve, known, "step") == [100, 200]
    assert x_values(curve, known, "epoch") == [2, 4]
    assert x_values(curve, Progress(), "epoch") == [None, None]
    assert x_values(curve, known, "time") == [0, 1]
    frame = curve_frame([curve, LossCurve()], ["a", "b"], [known, known], axis="step")
    assert frame["job"].tolist() == ["a", "a"]
    assert len(curve_frame([replace(curve, losses=(-1.0, 2.0))], ["a"], [known], axis="step", positive=True)) == 1
    assert len(curve_frame([LossCurve()], ["a"], [known], axis="time")) == 0


def test_a_run_that_came_apart_does_not_flatten_the_others() -> None:
    steady = LossCurve(steps=tuple(range(400)), losses=(1.0, *(0.1 + at / 10_000 for at in range(399))))
    assert readable_domain([steady]) is None
    assert readable_domain([LossCurve()]) is None
    apart = replace(steady, losses=(*steady.losses[:-2], 1e6, 1e7))
    low, high = readable_domain([steady, apart]) or (0, 0)
    assert low < 0.1
    assert 1 < high < 1.5
    spec = curves_spec(["a"], axis="step", log_scale=False, domain=(low, high))
    assert spec["encoding"]["y"]["scale"]["domain"] == [low, high]
    assert "domain" not in curves_spec(["a"], axis="step", log_scale=True, domain=(low, high))["encoding"]["y"]["scale"]


def test_results_say_what_is_unknown() -> None:
    done = make_job(1, progress=Progress(step=2_000, seconds_per_step=0.5), size_bytes=5 << 20)
    new = make_job(2, JobStatus.PENDING)
    rows = result_rows([done, new], ["a", "b"], [loss_curve(POINTS, weight=0, most_points=9), LossCurve()])
    assert (rows[0]["Speed"], rows[0]["Size"], rows[0]["Steps"]) == ("2 steps per second", "5 MB", "2,000")
    assert rows[0]["Lowest loss"].endswith("at step 2,000")
    assert {rows[1][name] for name in ("Final loss", "Lowest loss", "Speed", "Size", "NaN or infinite")} == {"–"}
    assert "GPU memory at its peak" not in rows[0]
    gpu = GpuUse(index=0, name="RTX", memory_bytes=1 << 30, total_bytes=24 << 30, peak_bytes=11 << 30)
    use = MachineUse(at=0, cpu_percent=1, memory_bytes=1, memory_total_bytes=2, gpus=(gpu,))
    done = replace(done, attempts=(Attempt(number=1, status=done.status, machine=use),))
    rows = result_rows([done, new], ["a", "b"], [LossCurve(), LossCurve()])
    assert [row["GPU memory at its peak"] for row in rows] == ["11 GB of 24 GB (RTX)", "–"]


def sample(epoch: int, index: int, prompt: str | None = None, attempt: int = 1) -> Artifact:
    name = f"e{epoch}-{index}.png"
    return Artifact(
        id=name, name=name, kind=ArtifactKind.SAMPLE, epoch=epoch, prompt_index=index, prompt=prompt, attempt=attempt
    )


def test_samples_meet_by_prompt_and_epoch() -> None:
    first = sample_set(
        [sample(1, 0, "fox"), sample(3, 0, "fox"), sample(1, 1, "cat"), sample(9, 0, "fox", attempt=2)], 1
    )
    second = sample_set([sample(2, 0, "cat"), sample(2, 1)], 1)
    assert prompts_of([first, second]) == ["cat", "fox", "Prompt 2"]
    assert (first.epochs, second.epochs) == ({1, 3}, {2})
    assert first.at("fox", 2) == (1, sample(1, 0, "fox"))
    assert second.at("cat", 1) is None


def test_the_final_lora_else_the_newest_checkpoint() -> None:
    last = Artifact(id="a", name="a", kind=ArtifactKind.LORA)
    early, late = (Artifact(id=str(at), name=str(at), kind=ArtifactKind.CHECKPOINT, epoch=at) for at in (2, 10))
    assert final_lora([early, last, late], 1) == last
    assert final_lora([late, early], 1) == late
    assert final_lora([last], 2) is None


def test_only_what_differs_between_loras_is_a_row() -> None:
    one = LoraReport(
        name="a", version="", size_bytes=1, kind="LoRA", is_lora=True, metadata={"ss_seed": "1", "same": "x"}
    )
    two = replace(one, epoch=3, metadata={"ss_seed": "2", "same": "x"})
    rows = different_rows([one, None, two], ["a", "b", "c"])
    assert [row["Fact"] for row in rows] == ["Epoch", "ss_seed"]
    assert rows[1] == {"Fact": "ss_seed", "a": "1", "b": "–", "c": "2"}
