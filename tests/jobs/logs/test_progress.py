"""Progress of every recorded run at every moment, and of the formats that are not recorded."""

import math
import random
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby, pairwise

import pytest

from lib.jobs.job import LossPoint, Progress, Stage
from lib.jobs.logs.eta import StepPace
from lib.jobs.logs.progress import ProgressParser
from tests.jobs.recordings import FOLDER, RECORDINGS, chunks_of, raw_log

L, C, T, S, W, F = (
    Stage.LOADING_MODEL,
    Stage.CACHING_LATENTS,
    Stage.TRAINING,
    Stage.SAMPLING,
    Stage.SAVING,
    Stage.FINISHED,
)


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What a recorded run comes to. ``losses`` are the last ones, as printed."""

    step: int | None = None
    total: int | None = None
    epoch: int | None = None
    epochs: int | None = None
    stages: list[Stage]
    losses: list[float]
    first_step: int = 1
    alarms: tuple[str, ...] = ()


NAN = math.nan
GOLDEN = {
    "diffusers-dreambooth-success": Expected(
        step=40, total=40, epoch=5, epochs=5, losses=[1.13, 1.09], stages=[L, T, S, T, W, T, S, T, W, S, W, S, F]
    ),
    "diffusers-t2i-fail-missing-model": Expected(stages=[L], losses=[]),
    "diffusers-t2i-success": Expected(
        step=48, total=48, epoch=6, epochs=6, losses=[1.11], stages=[L, T, S, T, W, T, S, T, W, T, S, T, W, S, F]
    ),
    "sd-scripts-accelerate-child-sigkill-midrun": Expected(
        step=4, total=24, epoch=1, epochs=3, losses=[1.07, 1.05, 1.09], stages=[L, C, T]
    ),
    "sd-scripts-fail-corrupt-image": Expected(step=2, total=24, epoch=1, epochs=3, losses=[0.992, 1.03], stages=[L, T]),
    "sd-scripts-fail-missing-dataset": Expected(stages=[L], losses=[]),
    "sd-scripts-nan-loss": Expected(
        step=8, total=8, epoch=1, epochs=1, losses=[0.992, *[NAN] * 7], stages=[L, T, F], alarms=("nan_loss",)
    ),
    "sd-scripts-resume": Expected(
        step=16, total=16, epoch=2, epochs=2, losses=[1.11, 1.1], stages=[L, C, T, W, F], first_step=9
    ),
    "sd-scripts-sigkill": Expected(
        step=5, total=24, epoch=1, epochs=3, losses=[0.992, 1.03, 1.06, 1.07], stages=[L, T]
    ),
    "sd-scripts-simple-log-unbuffered-columns": Expected(
        step=8, total=8, epoch=1, epochs=1, losses=[1.11], stages=[L, C, T, S, W, F]
    ),
    "sd-scripts-success": Expected(
        step=24, total=24, epoch=3, epochs=3, losses=[1.09], stages=[L, C, T, S, W, S, T, S, W, S, T, S, F]
    ),
    "sd-scripts-success-one-pipe": Expected(step=16, total=16, epoch=2, epochs=2, losses=[1.1], stages=[L, C, T, F]),
}


def replayed(chunks: Iterable[tuple[float, bytes]]) -> tuple[ProgressParser, list[Progress], list[LossPoint]]:
    """The parser after the chunks, the progress after each of them, and all losses."""
    parser, moments, losses = ProgressParser(), [], []
    for at, data in chunks:
        parser.feed(data, at)
        moments.append(parser.progress)
        losses.extend(parser.drain_losses())
    losses.extend(parser.drain_losses(is_over=True))
    return parser, moments, losses


def random_chunks(data: bytes, seed: int) -> Iterable[tuple[float, bytes]]:
    cuts = sorted(random.Random(seed).sample(range(len(data)), 400))
    for number, (start, stop) in enumerate(pairwise([0, *cuts, len(data)])):
        yield number * 0.1, data[start:stop]


def check_invariants(moments: list[Progress], expected: Expected) -> None:
    for before, after in pairwise(moments):
        for name in ("fraction", "step", "epoch"):
            old, new = getattr(before, name), getattr(after, name)
            assert old is None or (new is not None and new >= old), f"{name} fell from {old} to {new}"
        assert after.total_steps in {None, expected.total}
        assert after.total_epochs in {None, expected.epochs}
    for moment in moments:
        if moment.step is None:
            assert moment.fraction is None
            assert moment.loss is None
        else:
            assert moment.total_steps is not None
            assert expected.first_step - 1 <= moment.step <= moment.total_steps
            assert moment.fraction == pytest.approx(moment.step / moment.total_steps)
        assert moment.eta_s is None or moment.eta_s >= 0


def test_every_recording_has_its_expectation() -> None:
    assert set(GOLDEN) == set(RECORDINGS)


@pytest.mark.parametrize("name", RECORDINGS)
def test_the_recorded_run_at_every_moment(name: str) -> None:
    expected = GOLDEN[name]
    parser, moments, losses = replayed(chunks_of(name))
    last = moments[-1]
    assert (last.step, last.total_steps, last.epoch, last.total_epochs) == (
        expected.step,
        expected.total,
        expected.epoch,
        expected.epochs,
    )
    assert [stage for stage, _ in groupby(moment.stage for moment in moments)] == expected.stages
    check_invariants(moments, expected)
    tail = [point.loss for point in losses][len(losses) - len(expected.losses) :]
    assert tail == pytest.approx(expected.losses, nan_ok=True)
    carried = int(name.endswith(("sigkill", "sigkill-midrun")))  # killed before the loss of the last step was printed
    assert [point.step for point in losses] == list(range(expected.first_step, (expected.step or 0) + 1 - carried))
    assert parser.alarms == expected.alarms


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("name", RECORDINGS)
def test_chunks_cut_anywhere_come_to_the_same(name: str, seed: int) -> None:
    parser, moments, losses = replayed(random_chunks(raw_log(name), seed))
    recorded, recorded_moments, recorded_losses = replayed(chunks_of(name))
    check_invariants(moments, GOLDEN[name])
    for field in ("fraction", "stage", "step", "total_steps", "epoch", "total_epochs"):
        assert getattr(moments[-1], field) == getattr(recorded_moments[-1], field)
    assert [point.step for point in losses] == [point.step for point in recorded_losses]
    assert [point.loss for point in losses] == pytest.approx([point.loss for point in recorded_losses], nan_ok=True)
    assert (parser.alarms, parser.resume_state) == (recorded.alarms, recorded.resume_state)


def test_a_resumed_run_begins_at_its_offset() -> None:
    parser, moments, _ = replayed(chunks_of("sd-scripts-resume"))
    assert parser.resume_state == "/srv/trainer-runs/sd-scripts-save-state/output/last-000001-state"
    first = next(moment for moment in moments if moment.step is not None)
    assert (first.step, first.total_steps, first.fraction, first.epoch) == (8, 16, 0.5, 2)


def fed(*pieces: str, parser: ProgressParser | None = None, seconds_each: float = 1.0) -> ProgressParser:
    parser = parser or ProgressParser()
    for number, piece in enumerate(pieces):
        parser.feed(piece.encode(), number * seconds_each)
    return parser


def bar(description: str, done: int, total: int, postfix: str = "", rate: str = "1.00it/s") -> str:
    return f"\r{description}: {100 * done // total:3}%|██   | {done}/{total} [00:01<00:02,  {rate}{postfix}]"


def place(parser: ProgressParser) -> tuple[int | None, int | None, int | None, int | None, float | None]:
    now = parser.progress
    return now.step, now.total_steps, now.epoch, now.total_epochs, now.loss


@pytest.mark.parametrize(
    ("skip", "offset", "bar_total", "start", "end"),
    [
        ("", 8, 16, 8, 16),
        ("", 12, 16, 12, 20),  # starts over at the epoch of the state
        ("skipping 8 steps / 8\n", 8, 16, 8, 16),
        ("skipping 12 steps / 12\n", 12, 12, 12, 16),
    ],
)
def test_sd_scripts_resumes_at_the_epoch_or_within_it(
    skip: str, offset: int, bar_total: int, start: int, end: int
) -> None:
    parser = fed(
        "  num batches per epoch / 1epochのバッチ数: 8\n  num epochs / epoch数: 2\n",
        "  gradient accumulation steps / 勾配を合計するステップ数 = 1\n",
        "  total optimization steps / 学習ステップ数: 16\n" + skip,
        bar("steps", 0, bar_total),
    )
    parser.resume_from(offset)
    assert place(parser)[:2] == (start, end)
    fed(bar("steps", end - offset, bar_total), parser=parser)
    assert (parser.progress.step, parser.progress.fraction) == (end, 1.0)


def test_sd_scripts_with_steps_goes_on_in_whole_epochs() -> None:
    """40 steps, 12 an epoch, from step 20: it trains epochs 2 to 4 (read in train_network.py at 48d368f)."""
    parser = fed(
        "  num batches per epoch / 1epochのバッチ数: 12\n  num epochs / epoch数: 4\n",
        "  gradient accumulation steps / 勾配を合計するステップ数 = 1\n",
        "  total optimization steps / 学習ステップ数: 40\n",
        "\nepoch 2/4\n",
        bar("steps", 0, 40),
        parser=ProgressParser(first_step=20),
    )
    assert place(parser)[:4] == (20, 56, 2, 4)
    fed(*(bar("steps", done, 40) for done in range(1, 7)), parser=parser)
    assert parser.progress.eta_s == pytest.approx(30, abs=1), "1 s a step, 30 of 36 to go"
    fed(bar("steps", 36, 40), parser=parser)
    assert (parser.progress.step, parser.progress.fraction) == (56, 1.0)


def resumed_log(*changes: tuple[bytes, bytes]) -> bytes:
    """The real sd-scripts going on from a state of step 3, at epoch 2 of 3."""
    log = (FOLDER.parent / "trainers-2" / "sd-resume-plain" / "merged.bin").read_bytes()
    for before, after in changes:
        assert before in log
        log = log.replace(before, after)
    return log


def after(log: bytes, first_step: int) -> Progress:
    parser = ProgressParser(first_step=first_step)
    parser.feed(log, 1.0)
    steps = [point.step for point in parser.drain_losses(is_over=True)]
    assert steps == list(range(first_step + 1, first_step + 1 + len(steps)))
    return parser.progress


def test_the_log_itself_says_where_sd_scripts_goes_on() -> None:
    now = after(resumed_log(), 3)
    assert (now.step, now.total_steps, now.epoch, now.total_epochs) == (9, 9, 3, 3)
    assert (now.resumed_step, (now.resumed_from or "")[-24:]) == (3, "/kill child-000001-state")


@pytest.mark.parametrize(("told", "said"), [(9, 9), (10, 10), (12, 9)])
def test_a_step_that_sd_scripts_was_told_is_proven_by_its_epoch(told: int, said: int) -> None:
    # As with --initial_step=9 and 6 epochs in all: a second resume, whose state says step 6.
    ignored = b"is ignored because initial_step is specified"
    log = resumed_log(
        (b"'current_step': 3}", b"'current_step': 6}"),
        (b"  num batches per epoch", b"WARNING  steps from the state " + ignored + b"\n  num batches per epoch"),
        ("num epochs / epoch数: 3".encode(), "num epochs / epoch数: 6".encode()),
        ("学習ステップ数: 9".encode(), "学習ステップ数: 18".encode()),
        (b"/9 [", b"/18 ["),
        (b"epoch 2/3", b"epoch 4/6"),
        (b"epoch 3/3", b"epoch 5/6"),
    )
    assert after(log, told).resumed_step == said


def test_a_trainer_that_counts_on_is_not_counted_twice() -> None:
    parser = ProgressParser(first_step=48)
    fed("Resuming from checkpoint checkpoint-48\n", bar("Steps", 48, 56), bar("Steps", 49, 56, ", l=1"), parser=parser)
    now = parser.progress
    assert (now.step, now.total_steps, now.resumed_from, now.resumed_step) == (49, 56, "checkpoint-48", 48)


@pytest.mark.parametrize(
    ("line", "path", "step"),
    [
        ("load network weights from /a b/v1.safetensors: <All keys matched>", "/a b/v1.safetensors", None),
        ("#### IMPORTANT RESUMING FROM /o/v1_000000250.safetensors ####", "/o/v1_000000250.safetensors", None),
        ("Found step 250 in metadata, starting from there", None, 250),
    ],
)
def test_what_trainers_say_of_what_they_loaded(line: str, path: str | None, step: int | None) -> None:
    now = fed(f"{line}\n").progress
    assert (now.resumed_from, now.resumed_step) == (path, step)


def test_diffusers_resumes_where_its_bar_begins() -> None:
    parser = fed("  Total optimization steps = 56\n", bar("Steps", 48, 56), bar("Steps", 49, 56, ", loss=0.1, lr=1"))
    assert place(parser) == (49, 56, None, None, 0.1)
    assert [point.step for point in parser.drain_losses(is_over=True)] == [49]


def test_wrapped_paths_are_put_together_again() -> None:
    parser = fed(
        "                    INFO     resume training from local state: /a b/c-state       train_util.py:4777\n",
        "                    INFO     next                                                 train_util.py:1\n",
    )
    assert parser.resume_state == "/a b/c-state"


def test_ai_toolkit() -> None:
    parser = fed(
        bar("Caching latents", 1, 8),
        bar("my_lora", 0, 2000),
        bar("my_lora", 1, 2000, ", lr: 1.0e-04 loss: 3.210e-01"),
        bar("my_lora", 250, 2000, ", lr: 1.0e-04 loss: 1.000e-01"),
        bar("my_lora", 251, 2000),
    )
    assert place(parser) == (251, 2000, None, None, 0.1)
    assert parser.progress.stage == "training"
    fed("\nSaving at step 250\n", parser=parser)
    assert parser.progress.stage == "saving"
    fed(bar("Generating Images", 1, 4), parser=parser)
    assert (parser.progress.stage, parser.progress.step) == ("sampling", 251)


def recorded_losses(name: str, first_step: int = 0) -> tuple[Progress, list[tuple[int, float]]]:
    """What the log of a real run says: its progress, and step and loss of each point."""
    parser = ProgressParser(first_step=first_step)
    parser.feed((FOLDER.parent / "trainers-2" / name / "merged.bin").read_bytes(), 1.0)
    return parser.progress, [(point.step, point.loss) for point in parser.drain_losses(is_over=True)]


def test_ai_toolkit_prints_a_loss_before_it_counts_its_step() -> None:
    now, losses = recorded_losses("toolkit-success")
    assert (now.step, now.total_steps) == (8, 8)
    assert losses == [*zip(range(1, 9), (1.052, 1.141, 1.1, 1.05, 1.121, 1.066, 1.076, 1.1), strict=True)]


def test_ai_toolkit_goes_on_at_the_step_of_its_newest_file() -> None:
    now, losses = recorded_losses("toolkit-continued", 8)
    assert (now.step, now.total_steps, now.resumed_step) == (12, 12, 8)
    assert [step for step, _ in losses] == [9, 10, 11, 12]


def test_steps_with_the_same_loss_are_told_apart() -> None:
    parser = fed(
        *(bar("fox", done, 9, f", lr: 1.0e-04 loss: {loss}") for done, loss in ((0, 1), (1, 1), (1, 1), (2, 1), (2, 2)))
    )
    assert [(point.step, point.loss) for point in parser.drain_losses(is_over=True)] == [(1, 1), (2, 1), (3, 2)]


def test_a_full_stable_diffusion_goes_on_with_a_state_and_with_weights() -> None:
    now, losses = recorded_losses("sd-full-continued", 6)
    assert (now.step, now.total_steps, now.epoch, now.total_epochs, now.resumed_step) == (9, 9, 3, 3, 6)
    assert [step for step, _ in losses] == [7, 8, 9]
    now, losses = recorded_losses("sd-full-weights-cancel", 3)
    assert (now.step, now.total_steps, now.epoch, now.total_epochs) == (4, 15, 2, 5)
    assert (now.resumed_from or "").endswith("/from a preset-000001.safetensors")
    assert [step for step, _ in losses] == [4]


def test_onetrainer_counts_steps_within_epochs() -> None:
    moments = []
    parser = ProgressParser()
    for epoch in range(3):
        fed(bar("epoch", epoch, 3), parser=parser)
        for step in range(5):
            fed("\n" + bar("step", step, 4, ", loss=0.2, smooth loss=0.3") + "\x1b[A", parser=parser)
            moments.append(parser.progress)
    fed(bar("epoch", 3, 3), parser=parser)
    assert [moment.step for moment in moments] == [0, 1, 2, 3, 4, 4, 5, 6, 7, 8, 8, 9, 10, 11, 12]
    assert place(parser) == (12, 12, 3, 3, 0.2)


def test_simpletuner_tells_the_epoch_in_its_bar() -> None:
    parser = fed(bar("Epoch 2/5, Steps", 30, 100, ", lr=0.0001, step_loss=0.05"))
    assert place(parser) == (30, 100, 2, 5, 0.05)


def test_a_wrapper_may_put_its_name_before_lines() -> None:
    assert fed("[rank0]: steps:  50%|█| 4/8 [00:01<00:02,  1.00it/s, avr_loss=1]").progress.step == 4


def test_bars_that_are_not_training_move_nothing() -> None:
    parser = fed(bar("steps", 3, 24, ", avr_loss=1.2"))
    before = place(parser)
    others = [
        "validation steps",
        "epoch validation steps",
        "read caption",
        "get image size",
        "Loading unet.safetensors",
        "Generating class images",
        "Caching latents",
        "Loading pipeline components...",
        "more steps",
    ]
    for other in others:
        fed(bar(other, 9, 9, ", val_epoch_avg_loss=1.08"), "\n", parser=parser)
    fed("\r100%|██████████| 18/18 [00:00<00:00, 78215.46it/s]\n", "\nsteps: 24 of them, 100%|\n", parser=parser)
    assert place(parser) == before


def test_a_frame_counts_once_it_is_whole() -> None:
    frame = bar("steps", 7, 24, ", avr_loss=0.125").encode()
    parser = ProgressParser()
    for number in range(len(frame) - 1):
        parser.feed(frame[number : number + 1], float(number))
        assert parser.progress.step is None
    parser.feed(frame[-1:], 99.0)
    assert place(parser)[::4] == (7, 0.125)


@pytest.mark.parametrize(
    "junk",
    [
        b" " * 60_000 + b"%|",
        b"steps: 1%|" + b"#" * 60_000,
        b"\rsteps:  50%|#| 0/0 [00:01<00:02,  ?it/s, avr_loss=?]",
        b"steps:  50%|#| " + b"9" * 9_000 + b"/" + b"9" * 9_000 + b" [00:01<00:02, 1it/s]",
        b"num epochs: " + b"9" * 9_000,
        b"resume training from local state: " + b" " * 60_000 + b"x",
        b"\xff\x00\x1b[" * 20_000,
        b"[" * 60_000 + b"%|",
    ],
)
def test_a_log_may_hold_anything(junk: bytes) -> None:
    parser = ProgressParser()
    parser.feed(b"\n" + junk + b"\n", 1.0)
    parser.feed(junk, 2.0)
    assert parser.progress.fraction is None
    fed("\n" + bar("steps", 4, 8, ", avr_loss=1"), parser=parser)
    assert parser.progress.step == 4


def test_alarms() -> None:
    assert fed(bar("steps", 1, 9, ", avr_loss=inf")).alarms == ("inf_loss",)
    assert fed("NaN detected in latents: /data/a.png\n").alarms == ("nan_latents",)
    rising = [bar("steps", step, 99, f", avr_loss={1 if step < 30 else 30}") for step in range(1, 45)]
    assert fed(*rising[:35]).alarms == ()
    assert fed(*rising).alarms == ("loss_diverged",)
    wide = [bar("steps", step, 99, f", avr_loss={0.02 if step % 9 else 0.9}") for step in range(1, 99)]
    assert fed(*wide).alarms == ()


def test_pace_and_time_left_come_after_five_steps() -> None:
    steps = [bar("steps", step, 20, ", avr_loss=1", rate="9.00it/s") for step in range(11)]
    parser = fed(*steps[:5], seconds_each=2.0)
    assert parser.progress.eta_s is None
    assert parser.progress.seconds_per_step == pytest.approx(1 / 9), "the printed rate, until it is measured"
    parser = fed(*steps, seconds_each=2.0)
    assert parser.progress.seconds_per_step == 2.0
    assert parser.progress.eta_s == pytest.approx(20.0)


def test_a_log_read_late_all_at_once_has_no_measured_pace() -> None:
    parser = fed("".join(bar("steps", step, 20, ", avr_loss=1", rate="2.00s/it") for step in range(11)))
    now = parser.progress
    assert (now.step, now.eta_s, now.seconds_per_step) == (10, None, 2.0)


def test_a_log_read_late_is_not_timed_and_the_pace_known_before_goes_on() -> None:
    saved = "\nsaving checkpoint: x.safetensors\n"
    text = [bar("steps", step, 100, f", avr_loss=0.{step:02}") + saved * (step % 10 == 0) for step in range(25)]
    parser = ProgressParser(pace=StepPace(known_s=4.0))
    for piece in ("".join(text[:12]), "".join(text[12:])):
        parser.feed(piece.encode(), None)
    assert (parser.progress.step, parser.progress.seconds_per_step) == (24, 4.0)
    assert parser.progress.eta_s == pytest.approx(76 * 4.0)
    # The step that was under way is not timed: nobody saw its beginning.
    for step, at in ((25, 1_000.0), (26, 1_004.0), (27, 1_008.0)):
        parser.feed(bar("steps", step, 100, ", avr_loss=1").encode(), at)
    assert (parser.progress.seconds_per_step, parser.progress.eta_s) == (4.0, pytest.approx(73 * 4.0))
    assert [(point.step, point.at) for point in parser.drain_losses()[-3:]] == [(24, None), (25, 1000.0), (26, 1004.0)]
    # The rhythm of the saves was read all the same: at 30, then every 10 steps.
    for step, at in ((28, 1_012.0), (29, 1_016.0), (30, 1_020.0)):
        parser.feed(bar("steps", step, 100).encode() + saved.encode() * (step == 30), at)
    parser.feed(bar("steps", 31, 100).encode(), 1_034.0)
    assert parser.progress.eta_s == pytest.approx(69 * 4.0 + 6 * 10.0)


def test_before_any_output_it_is_queued_with_what_the_configuration_says() -> None:
    parser = ProgressParser(total_epochs=7)
    parser.feed(b"", 5.0)
    assert parser.progress == Progress(stage="queued", total_epochs=7)


def test_wrappers_before_a_bar_are_looked_through_but_not_for_ever() -> None:
    bar = b"steps:  50%|#| 1/2 [00:01<00:01,  1.00it/s]"
    parser = ProgressParser()
    parser.feed(b"\rtrainer-0  | [rank0]: " + bar, 1.0)
    assert (parser.progress.step, parser.progress.total_steps) == (1, 2)
    parser.feed(b"\r" + b"[a] " * 5_000 + b"%|", 2.0)
    assert parser.progress.step == 1


def test_the_table_of_a_notebook_is_the_loss_by_step() -> None:
    parser = ProgressParser()
    parser.feed(
        b" [ 30/500 00:30 < 08:00, 1.00 it/s, Epoch 0.06/1]\nStep\tTraining Loss\n10\t2.3456\n20\t1.9876\n", None
    )
    parser.feed(b"30\t1.5000\n40 images were cached\n", None)
    points = [(point.step, point.loss) for point in parser.drain_losses(is_over=True)]
    assert points == [(10, 2.3456), (20, 1.9876), (30, 1.5)]
    assert (parser.progress.step, parser.progress.total_steps, parser.progress.loss) == (30, 500, 1.5)


def test_a_validation_loss_belongs_to_the_step_before_it() -> None:
    parser = fed(bar("steps", 1, 8, ", avr_loss=0.5"), bar("steps", 2, 8, ", avr_loss=0.4"))
    for done, average in ((1, "0.9"), (2, "0.75")):
        fed(bar("validation steps", done, 2, f", val_avg_loss={average}, timestep=500"), parser=parser)
    fed(bar("steps", 3, 8, ", avr_loss=0.3"), bar("steps", 4, 8, ", avr_loss=0.2"), parser=parser)
    points = parser.drain_losses(is_over=True)
    assert [(point.step, point.validation_loss) for point in points] == [(1, None), (2, 0.75), (3, None), (4, None)]

    lines = (
        "{'loss': 1.2, 'step': 10}",
        "{'eval_loss': 1.5, 'eval_runtime': 3.1, 'epoch': 1.0}",
        "{'loss': 1.1, 'step': 20}",
    )
    parser = fed(*(f"{line}\n" for line in lines))
    points = parser.drain_losses(is_over=True)
    assert [(point.step, point.loss, point.validation_loss) for point in points] == [(10, 1.2, 1.5), (20, 1.1, None)]


def test_a_table_counts_steps_where_there_is_no_bar() -> None:
    parser = ProgressParser()
    parser.feed(b"Step\tTraining Loss\tValidation Loss\n10\t2.300000\t2.4\n20\t1.900000\t2.1\n", None)
    assert (parser.progress.step, parser.progress.loss) == (20, 1.9)


def test_the_bar_that_lightning_paints_with_rich_counts_steps_over_all_epochs() -> None:
    bar = "Epoch 3/9  ━━━━━━━━╸━━━━━━━━━━ 40/100 0:00:12 • 0:00:20 3.21it/s v_num: 2 train_loss: 0.512\n"
    parser = ProgressParser()
    parser.feed(bar.encode(), None)
    progress = parser.progress
    assert (progress.step, progress.total_steps, progress.loss) == (340, 1_000, 0.512)
    assert (progress.epoch, progress.total_epochs) == (4, 10)


def test_the_commands_before_a_training_are_stages() -> None:
    lines = (
        (b"Step 1 of 3: qwen_image_cache_latents.py\nINFO:cache:Encoding dataset [0]\n\r3it [00:02,  1.2it/s]\n", C),
        (b"Step 2 of 3: qwen_image_cache_text_encoder_outputs.py\n\r3it [00:02,  1.2it/s]\n", C),
        (b"Step 3 of 3: qwen_image_train_network.py\nloading the model\n", L),
        (b"\rsteps:   0%|          | 0/24 [00:00<?, ?it/s]\rsteps:   4%|# | 1/24 [00:02<00:46,  2.0s/it]", T),
    )
    parser = ProgressParser()
    for data, stage in lines:
        parser.feed(data, 0.0)
        assert parser.progress.stage == stage, data
    assert (parser.progress.step, parser.progress.total_steps) == (1, 24)


def test_a_loss_in_the_description_of_a_bar_is_the_loss() -> None:
    """Scripts that write it there (``set_description``) change the description with every step."""
    parser = ProgressParser()
    parser.feed(b"***** Running training *****\n  0%|          | 0/96 [00:00<?, ?it/s]\n", None)
    parser.feed(b"Epoch 1, Step 0, Loss: 0.9041:   2%|2 | 2/96 [00:02<02:20,  1.01it/s]\n", None)
    parser.feed(b"Epoch 2, Step 5, Loss: 0.7168:  21%|# | 20/96 [00:23<03:58,  1.85s/it]\n", None)
    parser.feed(b"Validation loss: 0.5:  50%|# | 48/96 [00:23<03:58,  1.85s/it]\n", None)
    assert (parser.progress.step, parser.progress.total_steps, parser.progress.loss) == (20, 96, 0.7168)
    parser = ProgressParser()
    for epoch, done, loss in ((1, 5, b"0.51"), (2, 0, b"0.5"), (2, 5, b"0.42")):
        parser.feed(b"Epoch %d/3, loss: %s:  50%%|# | %d/10 [00:23<03:58,  1.85s/it]\n" % (epoch, loss, done), None)
    assert (parser.progress.step, parser.progress.total_steps, parser.progress.loss) == (15, 30, 0.42)


def test_the_number_at_the_end_of_a_line_belongs_to_the_word_before_it() -> None:
    parser = ProgressParser()
    parser.feed(b"    Num examples = 9,263 | Num Epochs = 2 | Total steps = 2,316\n", None)
    assert parser.progress.total_steps == 2_316
    parser.feed(b"Total steps: 300\nmax_train_steps (300 / 1 / 1.0 * 2 * 1) = 600\n", None)
    assert parser.progress.total_steps == 600


def test_lines_that_are_read_again_without_their_prefix_begin_no_other_run() -> None:
    said = [
        "***** Running training *****",
        "  Num examples = 26",
        "  Num Epochs = 1",
        "  Total optimization steps = 2000",
    ]
    log = "".join(f"01/02/2025 07:07:23 - INFO - __main__ - {line}\n" for line in said)
    parser = ProgressParser()
    parser.feed(f"{log}Steps:   0%|   | 1/2000 [00:04<28:23,  4.11s/it, loss=0.0152, lr=0.0001]\n".encode(), None)
    parser.finish()
    assert (parser.progress.step, parser.progress.total_steps, parser.progress.loss) == (1, 2000, 0.0152)
