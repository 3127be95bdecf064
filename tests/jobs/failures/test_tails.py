"""Ends of logs as trainers really print them, with the noise around the cause; and logs that only look bad.

The texts are those of the trainers and libraries, put together from their sources and from reports of their users.
"""

from pathlib import Path

import pytest

from lib.jobs.failures.judge import judge, judge_by_log
from lib.jobs.job import JobStatus
from lib.jobs.logs.terminal import plain_lines

TAILS = Path(__file__).parent / "tails"

# Log -> exit code, cause, a fact that the message must hold.
FAILED: dict[str, tuple[int, str, str]] = {
    "kohya-cuda-out-of-memory-under-accelerate": (1, "out_of_memory", "160.00 MiB"),
    "ai-toolkit-out-of-memory-three-times": (1, "out_of_memory", "graphics card"),
    "torchrun-killed-by-the-kernel": (1, "killed", "signal 9"),
    "slurm-out-of-memory": (1, "out_of_memory", "machine"),
    "slurm-time-limit": (-15, "timeout", "time limit"),
    "deepspeed-killed": (1, "killed", "signal 9"),
    "diffusers-a-data-loader-worker-disappeared": (1, "killed", "signal 9"),
    "windows-a-data-loader-worker-exited": (1, "killed", "data loader"),
    "windows-the-paging-file": (1, "out_of_memory", "machine"),
    "docker-shared-memory": (1, "out_of_memory", "shared memory"),
    "diffusers-a-repository-that-is-not-there": (1, "missing_model", "acme/sdxl-mine"),
    "ai-toolkit-a-gated-model": (1, "missing_model", "black-forest-labs/FLUX.1-dev is only given to signed-in users"),
    "kohya-a-base-model-that-is-not-there": (1, "missing_model", "/models/sd_xl_base.safetensors"),
    "kohya-a-half-downloaded-base-model": (1, "broken_model", "MetadataIncompleteBuffer"),
    "diffusers-weights-that-cannot-be-loaded": (1, "broken_model", "/m/sd15/unet/diffusion_pytorch_model.bin"),
    "kohya-no-images": (0, "missing_dataset", "no images"),
    "ai-toolkit-no-images": (1, "missing_dataset", "no images"),
    "diffusers-an-empty-dataset-folder": (1, "missing_dataset", "/data/cats"),
    "simpletuner-no-usable-samples": (1, "missing_dataset", "no"),
    "kohya-a-corrupt-image-while-caching": (1, "corrupt_image", "not an image that can be read"),
    "a-picture-that-opencv-cannot-read": (1, "corrupt_image", "image"),
    "accelerate-an-argument-of-its-own": (2, "bad_argument", "--num_gpus=1"),
    "kohya-not-one-of-the-choices": (1, "bad_argument", "--mixed_precision"),
    "diffusers-a-column-that-is-not-there": (1, "bad_argument", "--caption_column"),
    "kohya-an-optimizer-that-does-not-exist": (1, "bad_argument", "Adamm"),
    "kohya-a-dataset-description-with-a-typing-error": (1, "bad_argument", "resolutoin"),
    "kohya-toml-that-is-none": (1, "bad_argument", "Unbalanced quotes"),
    "ai-toolkit-yaml-that-is-none": (1, "bad_argument", "line 12"),
    "onetrainer-json-that-is-none": (1, "bad_argument", "line 12"),
    "ai-toolkit-no-such-configuration": (1, "missing_file", "config/mine"),
    "kohya-no-bitsandbytes": (1, "import_error", "bitsandbytes"),
    "bitsandbytes-without-its-cuda-part": (1, "import_error", "bitsandbytes"),
    "the-disk-while-saving": (1, "disk_full", "full"),
    "the-disk-while-torch-saves-a-state": (1, "disk_full", "full"),
    "onetrainer-nan": (1, "nan_loss", "NaN"),
    "ctrl-c-under-accelerate": (130, "interrupted", "interrupted"),
    "ctrl-c-under-torchrun": (1, "interrupted", "interrupted"),
    "nccl-a-timeout": (1, "distributed", "NCCL"),
    "accelerate-the-port-is-in-use": (1, "distributed", "port"),
    "a-driver-that-is-too-old": (1, "cuda_error", "driver"),
    "no-card-says-accelerate": (1, "cuda_error", "graphics card"),
    "a-card-that-is-too-new-for-its-pytorch": (1, "cuda_error", "no kernel image"),
    "a-folder-that-may-not-be-written": (1, "permission_denied", "/root/.cache/huggingface/hub"),
    "kohya-resumed-with-another-rank": (1, "broken_model", "rank"),
    "wandb-not-signed-in": (1, "missing_login", "Weights & Biases"),
    "the-hub-not-signed-in": (1, "missing_login", "hub"),
    "a-download-that-broke-off": (1, "network", "download"),
    "windows-a-crash-without-a-word": (1, "killed", "crashed"),
    "killed-after-the-card-had-run-out-of-memory": (-9, "out_of_memory", "graphics card"),
    "killed-while-it-hung-after-an-error": (-9, "cuda_error", "illegal memory access"),
}
# In these stand words of failures, although nothing failed.
SOUND = sorted(path.stem for path in (TAILS / "sound").glob("*.log"))


def tail(name: str) -> bytes:
    return (TAILS / f"{name}.log").read_bytes()


def test_every_tail_is_expected() -> None:
    assert sorted(path.stem for path in (TAILS / "failed").glob("*.log")) == sorted(FAILED)
    assert SOUND


@pytest.mark.parametrize("name", FAILED)
def test_the_end_of_a_log_gets_its_cause(name: str) -> None:
    exit_code, cause, fact = FAILED[name]
    lines = plain_lines(tail(f"failed/{name}"))
    failure = judge(lines, exit_code=exit_code, lora_count=None).failure
    assert failure
    assert (failure.cause, fact in failure.message) == (cause, True), failure
    assert failure.evidence
    assert failure.hint
    alone = judge_by_log(lines)
    assert (alone.status, alone.failure and alone.failure.cause) == (JobStatus.FAILED, cause)


@pytest.mark.parametrize("name", SOUND)
def test_words_of_failures_are_none(name: str) -> None:
    text = tail(f"sound/{name}")
    lines, done = plain_lines(text), plain_lines(text + tail("done"))
    running = judge_by_log(lines)
    assert (running.status, running.failure) == (JobStatus.RUNNING, None)
    assert judge_by_log(done).status is JobStatus.SUCCEEDED
    for lora_count in (None, 1):
        assert judge(done, exit_code=0, lora_count=lora_count).status is JobStatus.SUCCEEDED
    stopped = judge(lines, exit_code=1, lora_count=0).failure
    assert stopped
    assert stopped.cause == "unknown"


def test_what_fails_after_the_last_file_was_saved_is_no_failure_with_exit_zero() -> None:
    upload = b"wandb: ERROR Error while uploading: ConnectionError: Max retries exceeded with url: /files\n"
    lines = plain_lines(tail("done") + upload)
    assert judge(lines, exit_code=0, lora_count=None).status is JobStatus.SUCCEEDED
    assert judge(lines, exit_code=0, lora_count=0).failure
    failure = judge(lines, exit_code=1, lora_count=1).failure
    assert failure
    assert failure.cause == "network"


@pytest.mark.parametrize(
    "line",
    [
        "sh: 1: cannot create /out/x: No space left on device",
        "bash: line 3: echo: write error: No space left on device",
        "/bin/sh: line 1: cannot create temp file for here-document: No space left on device",
        "tar: model.safetensors: Cannot write: No space left on device",
        "tar: model.safetensors: Wrote only 4096 of 10240 bytes",
        "cp: error writing '/out/lora.safetensors': No space left on device",
        "mkdir: cannot create directory 'out': No space left on device",
        "touch: cannot touch 'out/x': No space left on device",
        'rsync: [receiver] write failed on "/out/x": No space left on device (28)',
        "Cannot write to 'model.safetensors' (No space left on device).",
        "curl: (23) Failure writing output to destination",
        "fatal: write error: No space left on device",
        "Error: No space left on device (os error 28)",
        "thread 'main' panicked at src/main.rs:4:20: called `Result::unwrap()` on an `Err` value: "
        'Os { code: 28, kind: StorageFull, message: "No space left on device" }',
        "safetensors_rust.SafetensorError: Error while serializing: IoError(Os { code: 28, kind: StorageFull, "
        'message: "No space left on device" })',
    ],
)
def test_a_full_disk_in_the_words_of_any_program(line: str) -> None:
    verdict = judge(["running training", "epoch 1/2", line], exit_code=1, lora_count=0)
    assert verdict.failure is not None
    assert verdict.failure.cause == "disk_full"
