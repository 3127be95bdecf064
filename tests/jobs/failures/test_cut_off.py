"""Logs as people paste them: cut off within a traceback, or with an end that only a launcher or the kernel states."""

import io
from typing import Any

import pytest

from lib.jobs.explain import Ended, explain_log
from lib.jobs.failures.judge import judge_by_log
from lib.jobs.job import JobStatus


def report_on(text: str) -> dict[str, Any]:
    return explain_log(io.BytesIO(text.encode()), Ended(), None)


STARTED = "steps:   2%|2  | 31/1450 [01:02<47:20,  2.00s/it, avr_loss=0.107]"
CUT = f"""{STARTED}Traceback (most recent call last):
  File "/srv/sd/train_network.py", line 88, in <module>
    trainer.train(args)
  File "/srv/sd/venv/lib/python3.11/site-packages/torch/nn/modules/module.py", line 1751, in _call_impl
    return forward_"""
BOXED = """running training
  total optimization steps = 900
steps:   0%|          | 0/900 [00:00<?, ?it/s]
╭───────────────────── Traceback (most recent call last) ──────────────────────╮
│ /content/trainer/train_network.py:412 in <module>                            │
│                                                                              │
│   410 │   args = parser.parse_args()                                         │
│ ❱ 412 │   train(args)                                                        │
"""
NOTEBOOK = """KeyError                                  Traceback (most recent call last)
<ipython-input-3-1f0a> in <cell line: 2>()
      1 fast = True
----> 2 trainer.train()

12 frames
/usr/local/lib/python3.10/dist-packages/trl/trainer/sft_trainer.py in train(self, *args)
    310             self.model = patched
"""
PAINTED_OVER = """Traceback (most recent call last):                    | 0/9 [00:00<?, ?it/s]
  File "C:\\one\\modules\\trainer\\GenericTrainer.py", line 243, in __sample_loop████▎  | 20/21 [00:05<00:00,  3.69it/s]
    self.model_sampler.sample(
  File "C:\\one\\modules\\modelSampler\\Sampler.py", line 48, in sample
"""


@pytest.mark.parametrize(
    ("log", "phase", "who", "words"),
    [
        (CUT, "step 31", "torch", "the exception itself is not in it"),
        ("\n".join(CUT.splitlines()[1:]), "loading", "torch", "the exception itself is not in it"),
        (BOXED, "step 0", "train_network.py:412", "the exception itself"),
        (NOTEBOOK, "loading", "trl", "the message of the KeyError"),
        (PAINTED_OVER, "sampling", "Sampler.py:48", "while sampling"),
    ],
)
def test_a_log_that_ends_within_a_traceback_says_where_it_broke(log: str, phase: str, who: str, words: str) -> None:
    report = report_on(log)
    assert (report["status"], report["cause"], report["phase"], report["raised_by"]) == (
        "failed",
        "unknown",
        phase,
        who,
    )
    assert words in report["message"]
    assert report["evidence"]
    assert report["hint"]


def test_what_was_reported_before_the_traceback_is_the_cause_that_is_known() -> None:
    launcher = (
        'Traceback (most recent call last):\n  File "/v/bin/accelerate", line 8, in <module>\n    sys.exit(main())\n'
    )
    frames = "".join(f'  File "/v/accelerate/launch.py", line {line}, in launch\n    go()\n' for line in range(9))
    report = report_on("train_x.py: error: unrecognized arguments: --fast_mode\n" + launcher + frames)
    assert report["cause"] == "bad_argument"
    assert "--fast_mode" in report["message"]
    report = report_on("Error running job: 'NoneType' object has no attribute 'tokens'\n" + launcher + frames)
    assert "has no attribute 'tokens'" in report["message"]


def test_a_traceback_that_is_still_being_written_is_no_end_of_a_run_that_is_watched() -> None:
    assert judge_by_log(CUT.splitlines()).status is JobStatus.RUNNING


@pytest.mark.parametrize(
    "after",
    [
        "2025-01-02 10:00:01 INFO     epoch is incremented. current_epoch: 0, epoch: 1\n",
        "steps:   3%|2  | 44/1450 [01:42<47:20,  2.00s/it, avr_loss=0.105]\n",
    ],
)
def test_a_traceback_that_the_log_went_on_after_is_no_end(after: str) -> None:
    assert report_on(f"{CUT}\n{after}")["status"] == "running"


def test_an_optional_library_that_is_missed_ends_nothing() -> None:
    log = f"{STARTED}\nTraceback (most recent call last):\n"
    log += (
        '  File "/v/site-packages/xformers/__init__.py", line 55, in _is_triton_available\n    import triton  # noqa\n'
    )
    assert report_on(log)["status"] == "running"


LEVELS = "[{}] 2025-03-04 10:1{}:30 {}\n"


@pytest.mark.parametrize(
    ("log", "cause"),
    [
        ("[Tue Mar  4 16:07:00 2025] Out of memory: Killed process 4711 (python)", "out_of_memory"),
        (
            "(tune, pid=93)   0%|  | 4/1920 [46:58<304:50:24, 572.77s/it][E ProcessGroupNCCL.cpp:475] [Rank 1] "
            "Watchdog caught collective operation timeout: WorkNCCL(SeqNum=8) ran for 1800221 milliseconds",
            "distributed",
        ),
        (
            "    raise subprocess.CalledProcessError(returncode=1)\nsubprocess.CalledProcessError: Command '['python', "
            f"{'--option, ' * 90}]' returned non-zero exit status 1.",
            "unknown",
        ),
        (
            "".join(LEVELS.format("INFO", minute, f"loader.py: Part {minute} of the model") for minute in range(4))
            + LEVELS.format("WARNING", 5, "data.py: Few samples")
            + LEVELS.format("ERROR", 6, "cuda.cpp: CUDA out of memory. Tried to allocate 256.00 MiB")
            + "[CRITICAL] Training aborted",
            "out_of_memory",
        ),
        ("!!! Exception during processing !!! CUDA out of memory. Tried to allocate 1.00 GiB", "out_of_memory"),
    ],
)
def test_what_machines_launchers_and_loggers_say_last_is_an_end(log: str, cause: str) -> None:
    report = report_on(log)
    assert (report["status"], report["cause"]) == ("failed", cause)
