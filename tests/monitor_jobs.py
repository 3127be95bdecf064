"""One job in every state a monitor may meet, for the tests of the page and for those in a browser."""

import shutil
from datetime import datetime, timedelta
from pathlib import Path

from PIL import Image

from lib.jobs.job import (
    Artifact,
    ArtifactKind,
    Attempt,
    Failure,
    Job,
    JobStatus,
    LossPoint,
    PresignedUrl,
    Progress,
)
from lib.jobs.training_settings import TrainingConfig, TrainingSettings
from lib.sources.memory import MemorySource
from lib.sources.protocol import LocalFile

HOSTILE = "**Bad** <b>x</b> ![](http://evil.test/y.png) http://evil.test \u202ertl\u202c \0 :smile: " + "x" * 5_000
HOSTILE_LOG = "<script>alert(1)</script> <img src=http://evil.test/l.png> ![](http://evil.test/m.png) **md** \u202ertl"
SERIES = Path(__file__).parent / "recordings" / "lora-files" / "series"
SIGNED = "https://evil.test/key?X-Amz-Signature=secret"
PROMPTS = ("a red fox in the snow", "portrait of a woman, golden hour")
HALFWAY = Progress(
    fraction=0.42,
    stage="training",
    step=480,
    total_steps=2000,
    epoch=12,
    total_epochs=50,
    loss=0.0812,
    seconds_per_step=0.41,
    eta_s=1830,
)
OUT_OF_MEMORY = Failure(
    cause="out_of_memory",
    message="The GPU ran out of memory.",
    hint="Lower the batch size or the resolution.",
    evidence=("torch.OutOfMemoryError: CUDA out of memory.",),
    traceback='Traceback (most recent call last):\n  File "train.py", line 3\ntorch.OutOfMemoryError: CUDA',
)


def fill(source: MemorySource, now: datetime, folder: Path) -> None:
    """Put a job of every kind into the source; its files lie in ``folder``."""
    settings = TrainingSettings(epochs=50)
    source.configs.kept["cfg"] = TrainingConfig(id="cfg", name="SDXL portrait", settings=settings, is_default=True)
    files = _samples(source, "run", folder)
    running = _job("run", JobStatus.RUNNING, now, progress=HALFWAY, last_output_at=now, artifacts=files)
    source.add(
        _job("waiting", JobStatus.PENDING, now, attempt=0, started_at=None),
        running,
        _job("silent", JobStatus.RUNNING, now, last_output_at=now - timedelta(minutes=14), alarms=("nan_loss",)),
        _job("done", JobStatus.SUCCEEDED, now, progress=_with_loss(0.0412), artifacts=_files(source, "done", folder)),
        _failed(now),
        _job("cancelled", JobStatus.CANCELLED, now, progress=HALFWAY),
        _job("never", JobStatus.CANCELLED, now, started_at=None, progress=Progress()),
        _job("lost", JobStatus.LOST, now, progress=HALFWAY),
        _job("odd", JobStatus.UNKNOWN, now, raw_status="paused_by_admin", progress=HALFWAY),
        _job("stopping", JobStatus.RUNNING, now, cancelling=True, progress=HALFWAY),
        _job("nan", JobStatus.SUCCEEDED, now, alarms=("nan_loss",), artifacts=_files(source, "nan", folder)),
        _job("frozen", JobStatus.SUCCEEDED, now, artifacts=_frozen(now), duration_note="including time in the queue"),
        _job("hostile", JobStatus.RUNNING, now, name=HOSTILE, progress=HALFWAY, dataset_name=HOSTILE),
    )
    for job_id in ("run", "done", "cancelled", "odd"):
        source.logs[job_id, 1] = log_lines(0, 340)
        source.losses[job_id, 1] = losses(600)
    source.logs["odd", 1] += b"as wide as a trainer may print: ".ljust(239, b".") + b"|\n"
    source.logs["hostile", 1] = f"{HOSTILE_LOG}\n".encode()
    source.logs["failed", 1] = b"the first attempt\n"
    source.logs["failed", 2] = b"the second attempt\n"
    nan_losses = [LossPoint(step=step, loss=float("nan"), at=None) for step in range(600, 603)]
    source.losses["failed", 2] = [*losses(600), *nan_losses]
    source.losses["nan", 1] = [*losses(5), *(LossPoint(step=step, loss=float("nan")) for step in range(5, 202))]


def log_lines(start: int, stop: int) -> bytes:
    """Log lines as a trainer might print them."""
    return "".join(
        f"line {number}: avr_loss=0.08, a text of middling length\n" for number in range(start, stop)
    ).encode()


def losses(count: int) -> list[LossPoint]:
    """A falling loss with a sawtooth on it."""
    return [
        LossPoint(step=step, loss=0.05 + 0.1 / step + step % 7 / 500, at=1_800_000_000 + step)
        for step in range(1, count)
    ]


def _job(job_id: str, status: JobStatus, now: datetime, **values: object) -> Job:
    ended = now - timedelta(minutes=29, seconds=15) if status.is_terminal else None
    common = {
        "name": f"Aria {job_id}",
        "raw_status": status.value,
        "attempt": 1,
        "created_at": now - timedelta(hours=3),
        "started_at": now - timedelta(hours=2),
        "finished_at": ended,
        "dataset_id": "ds",
        "dataset_name": "Aria portraits",
        "config_id": "cfg",
        "config_name": "SDXL portrait",
        "settings": {"trainer": "tiny", "epochs": 50, "learning_rate": 2e-4, "sample_prompts": list(PROMPTS)},
        "trainer": "tiny",
        "command": ("train", "--name", "Aria v1"),
        "payload": {"url": SIGNED, "logs": ["x" * 3_000]},
    }
    return Job(id=job_id, status=status, **{**common, **values})  # type: ignore[arg-type]


def _failed(now: datetime) -> Job:
    first = Attempt(number=1, status=JobStatus.LOST, progress=Progress(fraction=0.1, step=200, total_steps=2000))
    second = Attempt(number=2, status=JobStatus.FAILED, exit_code=-9)
    return _job(
        "failed",
        JobStatus.FAILED,
        now,
        attempt=2,
        progress=HALFWAY,
        failure=OUT_OF_MEMORY,
        attempts=(first, second),
    )


def _with_loss(loss: float) -> Progress:
    return Progress(fraction=1.0, step=2000, total_steps=2000, epoch=50, total_epochs=50, loss=loss)


def _frozen(now: datetime) -> tuple[Artifact, ...]:
    spans = {"soon": timedelta(minutes=3), "expired": timedelta(minutes=-3), "later": timedelta(days=3)}
    return tuple(
        Artifact(
            id=f"{name}.safetensors",
            name=f"{name}.safetensors",
            kind=ArtifactKind.LORA,
            frozen_link=PresignedUrl(url=SIGNED, expires_at=now + span),
        )
        for name, span in spans.items()
    )


def _files(source: MemorySource, job_id: str, folder: Path) -> tuple[Artifact, ...]:
    """A final LoRA and more checkpoints than are shown at once, of a real run."""
    names = {"aria.safetensors": None, **{f"aria-{epoch:06d}.safetensors": epoch for epoch in range(1, 8)}}
    found = []
    for name, epoch in names.items():
        kind = ArtifactKind.LORA if epoch is None else ArtifactKind.CHECKPOINT
        path = folder / f"{job_id}-{name}"
        recorded = "aria_v2.safetensors" if epoch is None else f"aria_v2-{min(epoch, 5):06d}.safetensors"
        shutil.copyfile(SERIES / recorded, path)
        source.files[job_id, f"1/{name}"] = LocalFile(path=path, name=name)
        found.append(Artifact(id=f"1/{name}", name=name, kind=kind, size_bytes=524_288_000, epoch=epoch))
    return tuple(found)


def _samples(source: MemorySource, job_id: str, folder: Path) -> tuple[Artifact, ...]:
    """Two prompts in each of four epochs."""
    found = []
    for epoch in range(1, 5):
        for index, prompt in enumerate(PROMPTS):
            path = folder / f"e{epoch}-{index}.png"
            Image.new("RGB", (64, 64), (epoch * 50, index * 90, 150)).save(path)
            source.files[job_id, f"1/sample/{path.name}"] = LocalFile(path=path, name=path.name)
            found.append(
                Artifact(
                    id=f"1/sample/{path.name}",
                    name=path.name,
                    kind=ArtifactKind.SAMPLE,
                    epoch=epoch,
                    prompt_index=index,
                    prompt=prompt,
                )
            )
    return tuple(found)
