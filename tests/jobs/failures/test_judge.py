"""From a log's end and an exit code to one cause: recorded runs, well-known messages, and any text at all."""

import json
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.jobs.failures.causes import HINTS
from lib.jobs.failures.judge import Cause, Verdict, judge, judge_by_log
from lib.jobs.job import JobStatus
from lib.jobs.logs.terminal import Terminal, plain_lines

RECORDINGS = Path(__file__).parents[2] / "recordings" / "trainers"


def recorded(name: str) -> tuple[tuple[str, ...], int, int]:
    """The lines of a recorded run, its return code, and how many LoRA files it wrote."""
    folder = RECORDINGS / name
    meta = json.loads((folder / "meta.json").read_text())
    terminal = Terminal(keep_lines=2_000)
    terminal.feed(next(folder.glob("*.bin")).read_bytes())
    loras = [each for each in meta["safetensors"] if "-state/" not in each["file"]]
    return terminal.lines, meta["popen_returncode"], len(loras)


# Written by hand from reading the recordings: status, cause, a fact of the message, a line that proves it, alarms.
EXPECTED: dict[str, tuple[str, str, str, str, tuple[str, ...]]] = {
    "diffusers-dreambooth-success": ("succeeded", "", "", "", ()),
    "diffusers-t2i-success": ("succeeded", "", "", "", ()),
    "sd-scripts-resume": ("succeeded", "", "", "", ()),
    "sd-scripts-simple-log-unbuffered-columns": ("succeeded", "", "", "", ()),
    "sd-scripts-success": ("succeeded", "", "", "", ()),
    "sd-scripts-success-one-pipe": ("succeeded", "", "", "", ()),
    "sd-scripts-nan-loss": ("succeeded", "", "", "", ("nan_loss",)),
    "diffusers-t2i-fail-missing-model": (
        "failed",
        "missing_model",
        "stable-diffusion-v1-5/stable-diffusion-v1-5",
        "OSError: stable-diffusion-v1-5/stable-diffusion-v1-5 does not appear to have a file named"
        " scheduler_config.json.",
        (),
    ),
    "sd-scripts-accelerate-child-sigkill-midrun": (
        "failed",
        "killed",
        "signal 9",
        (RECORDINGS / "sd-scripts-accelerate-child-sigkill-midrun" / "merged.bin").read_text().splitlines()[-1],
        (),
    ),
    "sd-scripts-fail-corrupt-image": (
        "failed",
        "corrupt_image",
        "/srv/kohya/data/corrupt/1_sks cat/cat_005.png",
        "OSError: image file is truncated",
        (),
    ),
    "sd-scripts-fail-missing-dataset": (
        "failed",
        "missing_dataset",
        "no images",
        "                    ERROR    No data found. Please verify   train_network.py:576",
        (),
    ),
    "sd-scripts-sigkill": (
        "failed",
        "killed",
        "signal 9",
        "steps:  21%|██        | 5/24 [00:05<00:19,  1.05s/it, avr_loss=1.07]",
        (),
    ),
}


def test_the_line_of_a_killed_child_begins_at_its_beginning_however_long_it_is() -> None:
    died = "' died with <Signals.SIGKILL: 9>."
    for length in (100, 3_000, 100_000):
        line = f"subprocess.CalledProcessError: Command '{'x' * length}{died}"
        failure = judge([line], exit_code=1, lora_count=0).failure
        assert failure
        (proof,) = failure.evidence
        assert proof.startswith("subprocess.CalledProcessError: Command 'xxx")
        assert proof.endswith(died.strip("' "))
        assert (proof == line) == (length < 4_000)
        assert len(proof) <= 4_000


def test_every_recording_is_expected() -> None:
    assert {folder.name for folder in RECORDINGS.iterdir() if folder.is_dir()} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_recording_gets_its_root_cause(name: str) -> None:
    lines, exit_code, lora_count = recorded(name)
    status, cause, fact, proof, alarms = EXPECTED[name]
    verdict = judge(lines, exit_code=exit_code, lora_count=lora_count)
    assert verdict.status == status
    assert verdict.alarms == alarms
    if verdict.failure is None:
        assert not cause
        return
    assert verdict.failure.cause == cause
    assert fact in verdict.failure.message
    assert proof in verdict.failure.evidence
    assert verdict.failure.hint


# A second set of real runs, under the dashboard and in a terminal: status, cause, and words of message and hint.
SECOND = {
    "musubi-other-text-encoder": ("failed", "broken_model", "does not fit the network Qwen3ForCausalLM", "of the kind"),
    "sd-aspects-batch4": ("succeeded", "", "", ""),
    "sd-buckets-gradacc": ("succeeded", "", "", ""),
    "sd-cancel-in-sampling": ("cancelled", "", "", ""),
    "sd-full-continued": ("succeeded", "", "", ""),
    "sd-full-preset": ("succeeded", "", "", ""),
    "sd-full-weights-cancel": ("cancelled", "", "", ""),
    "sd-fp16-on-cpu": ("failed", "precision", "different precisions", "mixed_precision"),
    "sd-outside-terminal": ("succeeded", "", "", ""),
    "sd-path-wrong": ("failed", "missing_model", "no base model /nowhere/model.safetensors,", "path of the base model"),
    "sd-random-crop-cache-latents": ("failed", "bad_argument", "color_aug or random_crop", "command line"),
    "sd-resume-plain": ("succeeded", "", "", ""),
    "sd-resume-skip": ("succeeded", "", "", ""),
    "sd-save-every-2-steps": ("succeeded", "", "", ""),
    "sd-scheduler-wrong": ("failed", "bad_argument", "cosine_anneal", "Correct the setting"),
    "sd-sdxl-offline-tokenizer": ("failed", "missing_model", "A tokenizer", "tokenizer_cache_dir"),
    "sd-success-samples-state": ("succeeded", "", "", ""),
    "sd-typo": ("failed", "bad_argument", "--min_snr_gama=5", "Correct the setting"),
    "sd-weights-wrong-dim": ("succeeded", "", "", ""),
    "toolkit-continued": ("succeeded", "", "", ""),
    "toolkit-no-card": ("failed", "cuda_error", "found no graphics card that it can use", "graphics driver"),
    "toolkit-success": ("succeeded", "", "", ""),
}


@pytest.mark.parametrize("name", SECOND)
def test_the_second_set_of_recordings(name: str) -> None:
    folder = RECORDINGS.with_name("trainers-2") / name
    meta = json.loads((folder / "meta.json").read_text())
    end = meta["exit"] or {"exit_code": 0, "cancelled": False}
    outputs = [each["path"] for each in meta["files"] if each["path"].endswith(".safetensors")]
    verdict = judge(
        plain_lines((folder / "merged.bin").read_bytes()),
        exit_code=end["exit_code"],
        lora_count=sum("-state/" not in path for path in outputs),
        cancelled=end["cancelled"],
    )
    status, cause, fact, advice = SECOND[name]
    failure = verdict.failure
    assert (verdict.status, failure.cause if failure else "") == (status, cause)
    assert fact in (failure.message if failure else "")
    assert advice in (failure.hint if failure else "")


def test_every_recording_of_the_second_set_is_expected() -> None:
    assert {folder.name for folder in RECORDINGS.with_name("trainers-2").iterdir()} == set(SECOND)


# What the log alone, without an exit code, says about the same runs.
BY_LOG = {
    "diffusers-t2i-fail-missing-model": ("failed", "missing_model"),
    "sd-scripts-accelerate-child-sigkill-midrun": ("failed", "killed"),
    "sd-scripts-fail-corrupt-image": ("failed", "corrupt_image"),
    "sd-scripts-fail-missing-dataset": ("failed", "missing_dataset"),
    "sd-scripts-sigkill": ("running", ""),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_recording_judged_by_its_log_alone(name: str) -> None:
    verdict = judge_by_log(recorded(name)[0])
    cause = verdict.failure.cause if verdict.failure else ""
    assert (verdict.status, cause) == BY_LOG.get(name, ("succeeded", ""))


def test_traceback_of_the_root_exception_is_whole_and_free_of_bars() -> None:
    failure = judge(recorded("sd-scripts-fail-corrupt-image")[0], exit_code=1, lora_count=0).failure
    assert failure
    lines = failure.traceback.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1] == "OSError: image file is truncated"
    assert sum("Traceback" in line for line in lines) == 2
    assert not any("steps:" in line for line in lines)


@pytest.mark.parametrize("name", ["sd-scripts-success", "sd-scripts-success-one-pipe", "diffusers-t2i-success"])
def test_a_log_cut_anywhere_is_never_called_failed(name: str) -> None:
    lines = recorded(name)[0]
    for end in range(len(lines)):
        assert judge_by_log(lines[:end]).status in (JobStatus.RUNNING, JobStatus.SUCCEEDED)


def test_a_vanished_trainer_is_lost_unless_its_log_proves_an_end() -> None:
    killed, saved, corrupt = (
        recorded(name)[0] for name in ("sd-scripts-sigkill", "sd-scripts-success", "sd-scripts-fail-corrupt-image")
    )
    lost = judge(killed, exit_code=None, lora_count=1)
    assert lost.status is JobStatus.LOST
    assert lost.failure
    assert lost.failure.cause == "worker_lost"
    assert judge(saved, exit_code=None, lora_count=3).status is JobStatus.SUCCEEDED
    assert judge(saved, exit_code=None, lora_count=3).alarms == ("exit_code_unknown",)
    assert judge(saved, exit_code=None, lora_count=0).status is JobStatus.LOST
    proven = judge(corrupt, exit_code=None, lora_count=None)
    assert (proven.status, proven.failure and proven.failure.cause) == (JobStatus.FAILED, "corrupt_image")


def test_exit_zero_is_no_success_without_a_lora_file() -> None:
    for name in ("sd-scripts-success", "sd-scripts-sigkill"):
        verdict = judge(recorded(name)[0], exit_code=0, lora_count=0)
        assert (verdict.status, verdict.failure and verdict.failure.cause) == (JobStatus.FAILED, "no_output")
    assert judge(recorded("sd-scripts-success")[0], exit_code=0, lora_count=None).status is JobStatus.SUCCEEDED
    assert judge(recorded("sd-scripts-sigkill")[0], exit_code=0, lora_count=None).status is JobStatus.FAILED
    assert judge([], exit_code=0, lora_count=None).status is JobStatus.FAILED


def test_what_a_person_or_the_limit_ended_is_called_so() -> None:
    lines = recorded("sd-scripts-fail-corrupt-image")[0]
    assert judge(lines, exit_code=-15, lora_count=0, cancelled=True) == Verdict(status=JobStatus.CANCELLED)
    assert judge(lines, exit_code=0, lora_count=1, cancelled=True, alarms=["nan_loss"]).alarms == ("nan_loss",)
    late = judge(lines, exit_code=-15, lora_count=0, timed_out=True)
    assert late.failure
    assert (late.status, late.failure.cause) == (JobStatus.FAILED, "timeout")


@pytest.mark.parametrize(
    ("exit_code", "cause", "fact"),
    [
        (-9, "killed", "signal 9 (SIGKILL), likely out of memory"),
        (-15, "interrupted", "signal 15 (SIGTERM)"),
        (-2, "interrupted", "signal 2 (SIGINT)"),
        (-11, "killed", "signal 11 (SIGSEGV)"),
        (-64, "killed", "signal 64"),
        (-99, "killed", "signal 99"),
        (137, "killed", "signal 9 (SIGKILL)"),
        (143, "interrupted", "signal 15 (SIGTERM)"),
        (255, "unknown", "exit code 255"),
        (1, "unknown", "exit code 1"),
    ],
)
def test_exit_codes_without_a_word_in_the_log(exit_code: int, cause: str, fact: str) -> None:
    failure = judge(["steps:  21%|██   | 5/24 [00:05<00:19,  1.05s/it]"], exit_code=exit_code, lora_count=3).failure
    assert failure
    assert failure.cause == cause
    assert fact in failure.message
    assert failure.evidence == ("steps:  21%|██   | 5/24 [00:05<00:19,  1.05s/it]",)


def traceback(*raised: str, link: str = "During handling of the above exception, another exception occurred:") -> str:
    """Tracebacks as Python prints them, one per exception, linked."""
    frame = 'Traceback (most recent call last):\n  File "train.py", line 7, in main\n    step()\n    ^^^^^^\n'
    return f"\n\n{link}\n\n".join(frame + each for each in raised)


LAUNCHER = traceback(
    "subprocess.CalledProcessError: Command '['python', 'train.py', '--caption=CUDA out of memory']'"
    " returned non-zero exit status 1."
)
GPU = (
    "CUDA out of memory. Tried to allocate 2.25 GiB. GPU 0 has a total capacity of 23.64 GiB of which 1.02 GiB is"
    " free. Including non-PyTorch memory, this process has 22.61 GiB memory in use."
)
HUB = "If this is a private repository, make sure to pass a token having permission to this repo"

# Well-known messages -> exit code, cause, a fact that the message must hold.
MESSAGES: list[tuple[str, int, str, str]] = [
    ("CUDA out of memory: tried to allocate 2 GiB", 1, "out_of_memory", "ran out of memory"),
    (traceback(f"torch.OutOfMemoryError: {GPU}"), 1, "out_of_memory", "2.25 GiB"),
    (traceback(f"torch.cuda.OutOfMemoryError: {GPU}") + "\n" + LAUNCHER, 1, "out_of_memory", "2.25 GiB"),
    (traceback(f"RuntimeError: {GPU}"), 1, "out_of_memory", "graphics card"),
    (traceback("RuntimeError: CUDA error: out of memory\nCUDA kernel errors might be"), 1, "out_of_memory", ""),
    (
        traceback(f"torch.OutOfMemoryError: {GPU}", "RuntimeError: could not finish"),
        1,
        "out_of_memory",
        "2.25 GiB",
    ),
    (
        "steps:   4%|▍ | 1/24 [00:02<01:02, 2.71s/it]" + traceback(f"torch.OutOfMemoryError: {GPU}"),
        1,
        "out_of_memory",
        "2.25 GiB",
    ),
    (
        "# OOM during training step, skipping batch 3/3 #\nOOM during training step 3 times in a row, aborting",
        1,
        "out_of_memory",
        "graphics card",
    ),
    (f"Error running job: {GPU}", 1, "out_of_memory", "2.25 GiB"),
    (traceback("MemoryError"), 1, "out_of_memory", "machine"),
    (
        traceback(
            "RuntimeError: [enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory:"
            " you tried to allocate 4194304 bytes. Error code 12 (Cannot allocate memory)"
        ),
        1,
        "out_of_memory",
        "4194304 bytes",
    ),
    (
        traceback("numpy._core._exceptions._ArrayMemoryError: Unable to allocate 7.45 GiB for an array"),
        1,
        "out_of_memory",
        "7.45 GiB",
    ),
    (
        traceback(
            "RuntimeError: DataLoader worker (pid 77) is killed by signal: Bus error. It is possible that"
            " dataloader's workers are out of shared memory. Please try to raise your shared memory limit."
        ),
        1,
        "out_of_memory",
        "shared memory",
    ),
    (
        "terminate called after throwing an instance of 'std::bad_alloc'\n  what():  std::bad_alloc",
        -6,
        "out_of_memory",
        "machine",
    ),
    ("train.sh: line 3:  4242 Killed                  python train.py", 137, "killed", "signal 9"),
    ("Segmentation fault (core dumped)", 139, "killed", "signal 11"),
    (
        traceback("RuntimeError: DataLoader worker (pid 99) is killed by signal: Killed. "),
        1,
        "killed",
        "signal 9",
    ),
    (
        "torch.distributed.elastic.multiprocessing.errors.ChildFailedError: \n====\n"
        "train.py FAILED\n  exitcode  : -9 (pid: 71)\n  traceback : Signal 9 (SIGKILL) received by PID 71",
        1,
        "killed",
        "signal 9",
    ),
    (
        traceback(f"torch.OutOfMemoryError: {GPU}")
        + "\nroot cause:\n  exitcode  : 1 (pid: 70)\n  exitcode  : -15 (pid: 71)",
        1,
        "out_of_memory",
        "2.25 GiB",
    ),
    (traceback("KeyboardInterrupt"), -2, "interrupted", "interrupted"),
    (traceback("KeyboardInterrupt") + "\n" + traceback("KeyboardInterrupt"), 130, "interrupted", "interrupted"),
    (traceback("ValueError: Instance images root doesn't exists."), 1, "missing_dataset", "folder"),
    (
        traceback("Exception: No images were discovered by the bucket manager in the dataset: pics."),
        1,
        "missing_dataset",
        "pics",
    ),
    (
        traceback("FileNotFoundError: Couldn't find any data file at /data/cats."),
        1,
        "missing_dataset",
        "/data/cats",
    ),
    (
        traceback("ValueError: num_samples should be a positive integer value, but got num_samples=0"),
        1,
        "missing_dataset",
        "no images",
    ),
    ("No data found. Please verify arguments (train_data_dir must be the parent)", 0, "missing_dataset", ""),
    (
        traceback(
            f"OSError: some/model is not a local folder and is not a valid model identifier listed on 'hub'\n{HUB}"
        ),
        1,
        "missing_model",
        "some/model",
    ),
    (
        traceback("OSError: some/model does not appear to have a file named config.json."),
        1,
        "missing_model",
        "config",
    ),
    (
        traceback("huggingface_hub.errors.GatedRepoError: 403 Client Error.\nAccess to model a/b is restricted"),
        1,
        "missing_model",
        "a/b",
    ),
    (
        traceback("FileNotFoundError: [Errno 2] No such file or directory: '/m/v1-5.safetensors'"),
        1,
        "missing_model",
        "/m/v1-5.safetensors",
    ),
    (
        traceback("safetensors_rust.SafetensorError: Error while deserializing header: HeaderTooLarge"),
        1,
        "broken_model",
        "HeaderTooLarge",
    ),
    (traceback("_pickle.UnpicklingError: invalid load key, '<'."), 1, "broken_model", "PyTorch"),
    (
        traceback('RuntimeError: Error(s) in loading state_dict for UNet2D:\n\tMissing key(s): "a.b".'),
        1,
        "broken_model",
        "UNet2D",
    ),
    (
        "usage: train_network.py [-h] [--v2]\ntrain_network.py: error: unrecognized arguments: --lrr=1e-4",
        2,
        "bad_argument",
        "--lrr=1e-4",
    ),
    (
        "usage: train.py [-h]\ntrain.py: error: ambiguous option: --lr could match --lr_scheduler, --lr_decay_steps",
        2,
        "bad_argument",
        "--lr is ambiguous",
    ),
    ("train.py: error: the following arguments are required: --output_dir", 2, "bad_argument", "--output_dir"),
    ("train.py: error: argument --seed: invalid int value: 'x'", 2, "bad_argument", "--seed"),
    ("Usage: run.py [OPTIONS]\n\nError: No such option: --frobnicate", 2, "bad_argument", "--frobnicate"),
    (
        traceback("toml.decoder.TomlDecodeError: Found invalid character (line 3 column 1 char 20)"),
        1,
        "bad_argument",
        "",
    ),
    (traceback("ModuleNotFoundError: No module named 'bitsandbytes'"), 1, "import_error", "bitsandbytes"),
    (
        traceback("ImportError: cannot import name 'cached_download' from 'huggingface_hub' (/x/__init__.py)"),
        1,
        "import_error",
        "cached_download",
    ),
    ("/usr/bin/python3: No module named accelerate", 1, "import_error", "accelerate"),
    ("bash: accelerate: command not found", 127, "missing_trainer", "accelerate"),
    (
        "C:\\lora>accelerate launch x.py\n'accelerate' is not recognized as an internal or external command,\n"
        "operable program or batch file.",
        1,
        "missing_trainer",
        "accelerate",
    ),
    (
        "python: can't open file '/opt/sd/train_network.py': [Errno 2] No such file or directory",
        2,
        "missing_trainer",
        "/opt/sd/train_network.py",
    ),
    (
        traceback("OSError: [Errno 28] No space left on device: '/out/a.safetensors'"),
        1,
        "disk_full",
        "/out/a.safe",
    ),
    (
        traceback(
            "safetensors_rust.SafetensorError: Error while serializing: IoError(Os { code: 28, kind: StorageFull,"
            ' message: "No space left on device" })'
        ),
        1,
        "disk_full",
        "disk",
    ),
    (
        traceback("PIL.UnidentifiedImageError: cannot identify image file '/d/10_cat/error.png'"),
        1,
        "corrupt_image",
        "/d/10_cat/error.png",
    ),
    (
        traceback(
            "RuntimeError: Caught OSError in DataLoader worker process 0.\nOriginal "
            + traceback("OSError: image file is truncated (12 bytes not processed)")
        ),
        1,
        "corrupt_image",
        "12 bytes",
    ),
    (traceback("RuntimeError: NaN detected in latents: /d/cat.png"), 1, "nan_loss", "/d/cat.png"),
    (traceback("ValueError: Loss is NaN at step 12"), 1, "nan_loss", "NaN"),
    (traceback("PermissionError: [Errno 13] Permission denied: '/out'"), 1, "permission_denied", "/out"),
    (traceback("RuntimeError: No CUDA GPUs are available"), 1, "cuda_error", "no graphics card"),
    (
        traceback("RuntimeError: CUDA error: device-side assert triggered\nCUDA kernel errors might be"),
        1,
        "cuda_error",
        "device-side assert triggered",
    ),
    (
        traceback(
            "torch.distributed.DistNetworkError: The server socket has failed to listen on any local network"
            " address. port: 29500, code: -98, name: EADDRINUSE, message: address already in use"
        ),
        1,
        "distributed",
        "port",
    ),
    (
        traceback("torch.distributed.DistBackendError: NCCL error in: ProcessGroupNCCL.cpp:1691"),
        1,
        "distributed",
        "",
    ),
    (
        traceback("requests.exceptions.ConnectionError: HTTPSConnectionPool: Max retries exceeded with url: /a"),
        1,
        "network",
        "download",
    ),
    (
        traceback("OSError: We couldn't connect to 'https://huggingface.co' to load this file"),
        1,
        "network",
        "https://huggingface.co",
    ),
    (traceback("FileNotFoundError: [Errno 2] No such file or directory: 'x.toml'"), 1, "missing_file", "x.toml"),
    (
        traceback("AssertionError: v_parameterization does not fit"),
        1,
        "unknown",
        "v_parameterization does not fit",
    ),
    (
        "[rank0]: " + traceback(f"torch.OutOfMemoryError: {GPU}").replace("\n", "\n[rank0]: "),
        1,
        "out_of_memory",
        "2.25 GiB",
    ),
    (
        traceback(f"torch.OutOfMemoryError: {GPU}") + "\n" + traceback("RuntimeError: Connection closed by peer"),
        1,
        "out_of_memory",
        "2.25 GiB",
    ),
    (
        "2026-11-23 15:54:30 ERROR    Error loading file:              train_util.py:2960\n"
        "                             /d/a b.png\n" + traceback("OSError: broken data stream when reading image file"),
        1,
        "corrupt_image",
        "/d/a b.png",
    ),
    (
        "╭───── Traceback (most recent call last) ─────╮\n│ train.py:7 in main                          │\n"
        "╰─────────────────────────────────────────────╯\nModuleNotFoundError: No module named 'xformers'",
        1,
        "import_error",
        "xformers",
    ),
]


def test_what_the_watchdog_says_is_no_part_of_an_exception() -> None:
    lines = [
        "Traceback (most recent call last):",
        "OSError: [Errno 28] No space left on device",
        "[E1105 12:10:00.000 x] y",
    ]
    failure = judge(lines, exit_code=1, lora_count=0).failure
    assert failure
    assert failure.evidence == (lines[1],)


@pytest.mark.parametrize(("log", "exit_code", "cause", "fact"), MESSAGES)
def test_well_known_messages(log: str, exit_code: int, cause: str, fact: str) -> None:
    bar = "steps:   8%|▊  | 2/24 [00:03<00:43,  1.96s/it, avr_loss=1.03]"
    lines = ["running training", bar, *log.splitlines(), bar]
    verdict = judge(lines, exit_code=exit_code, lora_count=0)
    assert verdict.failure
    assert (verdict.status, verdict.failure.cause) == (JobStatus.FAILED, cause), verdict.failure
    assert fact in verdict.failure.message
    assert "{" not in verdict.failure.message
    assert "\n" not in verdict.failure.message
    assert verdict.failure.evidence
    assert "CalledProcessError" not in verdict.failure.message
    assert bool(verdict.failure.traceback) == ("Traceback" in log)


HARMLESS = [
    "fatal: not a git repository (or any of the parent directories): .git",
    "2026-11-23 15:56:55 WARNING  Failed to get git commit      sai_model_spec.py:288",
    "/venv/torch/x.py:205: UserWarning: CUDA out of memory may happen later",
    "loading /data/10_sks/CUDA out of memory error.png",
    "caption: OSError: image file is truncated, no space left on device",
    "INFO     No module named 'triton' found, going on without it",
    "                    INFO     caption_prefix: Permission denied  train_util.py:1",
    "0 errors, 0 failures",
]


@pytest.mark.parametrize("line", HARMLESS)
def test_harmless_lines_are_no_cause(line: str) -> None:
    assert judge_by_log([line, "running training"]).status is JobStatus.RUNNING
    failure = judge(["running training", line, "steps:"], exit_code=1, lora_count=0).failure
    assert failure
    assert failure.cause == "unknown"
    assert "does not say why" in failure.message
    assert failure.evidence[-1] == "steps:"


def test_an_exception_that_the_training_survived_is_no_cause() -> None:
    before = "steps:   4%|▍  | 1/24 [00:02<01:02,  2.71s/it, avr_loss=0.9]"
    after = "steps:  50%|█████  | 12/24 [00:12<00:12,  1.01s/it, avr_loss=0.9]"
    oom = "# OOM during training step, skipping batch 1/3 #"
    survived = [before, *traceback("ModuleNotFoundError: No module named 'triton'").splitlines(), oom, after]
    assert judge_by_log(survived).status is JobStatus.RUNNING
    failure = judge(survived, exit_code=1, lora_count=0).failure
    assert failure
    assert failure.cause == "unknown"
    assert judge(survived, exit_code=0, lora_count=1).status is JobStatus.SUCCEEDED
    late = judge_by_log([*survived, *traceback("MemoryError").splitlines(), after])
    assert (late.status, late.failure and late.failure.cause) == (JobStatus.FAILED, "out_of_memory")


TEXT = st.one_of(
    st.text(max_size=80),
    st.sampled_from(
        [line for log, *_ in MESSAGES for line in log.splitlines()]
        + [
            "Traceback (most recent call last):",
            "  File x",
            "",
            "ERROR",
            "model saved.",
            " " * 40,
            "Original Traceback",
        ]
    ),
)


@given(
    lines=st.lists(TEXT, max_size=30),
    exit_code=st.none() | st.integers(-300, 300),
    lora_count=st.none() | st.integers(0, 3),
)
@settings(max_examples=300, deadline=None)
def test_any_text_gets_a_verdict_proved_by_its_own_lines(
    lines: Sequence[str], exit_code: int | None, lora_count: int | None
) -> None:
    for verdict in (judge(lines, exit_code=exit_code, lora_count=lora_count), judge_by_log(lines)):
        if verdict.failure is None:
            assert verdict.status in (JobStatus.SUCCEEDED, JobStatus.RUNNING)
            continue
        assert verdict.status in (JobStatus.FAILED, JobStatus.LOST)
        assert verdict.failure.cause in set(Cause)
        assert verdict.failure.message
        assert verdict.failure.hint
        assert "\n" not in verdict.failure.message
        for proof in verdict.failure.evidence:
            assert any(proof in line for line in lines)


def test_every_cause_has_a_hint() -> None:
    assert set(HINTS) == set(Cause)


def test_a_long_line_of_a_logger_is_read_in_one_go() -> None:
    line = "2024-01-01 00:00:00 INFO     x" + " " * 65_000 + "y"
    started = time.process_time()
    assert judge([line] * 4, exit_code=1, lora_count=0).status is JobStatus.FAILED
    assert time.process_time() - started < 10  # a pattern that looks back at every blank takes minutes


@pytest.mark.parametrize(
    ("raised", "cause", "confidence"),
    [
        ("RuntimeError: CUDA out of memory. Tried to allocate 2.00 GiB", "out_of_memory", "certain"),
        (
            "RuntimeError: unable to write. It is possible that workers are out of shared memory.",
            "out_of_memory",
            "likely",
        ),
        ("RuntimeError: The step failed. CUDA out of memory.", "out_of_memory", "likely"),
        ("RuntimeError: The step failed. If you see CUDA out of memory, lower the resolution.", "unknown", ""),
        ("AttributeError: module 'torch' has no attribute 'OutOfMemoryError'", "library_mismatch", "likely"),
        ("KeyError: 'No space left on device'", "unknown", ""),
        ("FileNotFoundError: /data/CUDA out of memory/1.png does not exist", "missing_file", "certain"),
    ],
)
def test_a_cause_is_certain_only_when_the_exception_says_it_first(raised: str, cause: str, confidence: str) -> None:
    log = f'running training\nTraceback (most recent call last):\n  File "/x/train.py", line 7, in main\n{raised}'
    failure = judge(log.splitlines(), exit_code=1, lora_count=0).failure
    assert failure
    assert (failure.cause, failure.confidence) == (cause, confidence)


def test_an_exception_that_the_program_spoke_on_after_is_no_certain_cause() -> None:
    log = ["Traceback (most recent call last):", '  File "/x/t.py", line 7, in f', "RuntimeError: CUDA out of memory"]
    after = [f"2026-03-01 10:00:0{number} INFO     encoded caption {number}" for number in range(9)]
    failure = judge([*log, *after], exit_code=1, lora_count=0).failure
    assert failure
    assert (failure.cause, failure.confidence) == ("out_of_memory", "likely")


def test_the_last_error_in_a_log_that_does_not_say_why_is_shown() -> None:
    log = ["2026-03-01 10:00:00 ERROR    the cache is stale", *(f"encoded caption {number}" for number in range(20))]
    failure = judge(log, exit_code=1, lora_count=0).failure
    assert failure
    assert failure.cause == "unknown"
    assert "the cache is stale" in failure.message
    assert "ERROR    the cache is stale" in failure.evidence[0]


def test_ai_toolkit_that_was_stopped_ends_with_code_0_and_is_no_success() -> None:
    lines = ["fox:  40%|####      | 40/100 [00:10<00:10, loss: 3.2e-02]", "Saved checkpoint to /o/fox.safetensors"]
    assert judge(lines, exit_code=0, lora_count=1).status is JobStatus.SUCCEEDED
    for count in (0, 1, None):
        stopped = judge([*lines, "Job stopped", ""], exit_code=0, lora_count=count)
        assert (stopped.status, stopped.failure and stopped.failure.cause) == (JobStatus.FAILED, "interrupted")
