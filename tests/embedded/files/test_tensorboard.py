"""Event files, against what the recorder read from them."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from lib.embedded.files.tensorboard import EventFiles
from tests.jobs.recordings import FOLDER


@pytest.mark.parametrize(
    ("name", "tag", "steps"), [("sd-scripts-success", "loss/current", 24), ("diffusers-t2i-success", "train_loss", 48)]
)
def test_reads_the_loss_of_every_step(name: str, tag: str, steps: int) -> None:
    recorded = json.loads((FOLDER / name / "tensorboard.json").read_text(encoding="utf-8"))
    scalars = next(entry["scalars"][tag] for entry in recorded.values() if tag in entry["scalars"])
    points = EventFiles(FOLDER / name).losses()
    assert [point.step for point in points] == list(range(1, steps + 1))
    assert (points[0].loss, points[-1].loss) == (scalars["first"], scalars["last"])
    assert all(1.7e9 < (point.at or 0) < 2e9 for point in points)


def test_a_file_cut_while_it_is_written_counts_as_far_as_it_goes(tmp_path: Path) -> None:
    source = next((FOLDER / "sd-scripts-success").rglob("events.out.tfevents.*"))
    (tmp_path / source.name).write_bytes(source.read_bytes()[:3_000])
    files = EventFiles(tmp_path)
    points = files.losses()
    assert 5 < len(points) < 24
    shutil.copy(source, tmp_path / "events.out.tfevents.9999999999.later")
    assert len(files.losses()) == 24
    assert EventFiles(tmp_path / "nothing here").losses() == []


@pytest.mark.slow
def test_the_package_is_not_imported_before_a_file_is_read() -> None:
    code = "import sys, lib.services, lib.sources.embedded.source, lib.embedded.worker.worker as _; "
    code += "raise SystemExit('tensorboard' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3]).returncode == 0


@pytest.mark.parametrize(
    ("tag", "at_step"),
    [
        ("loss/validation/step_average", 20),
        ("loss/validation/epoch_average", 2),  # an epoch; its time tells the step
        ("loss/validation_step/portraits", 20),
        ("eval/loss", 25),
        ("loss/validation_step/total_average", 20),
    ],
)
def test_a_validation_loss_comes_with_the_loss_before_it(tmp_path: Path, tag: str, at_step: int) -> None:
    writer = EventFileWriter(str(tmp_path))
    scalars = [("loss/current", step, 1000.0 + step, step / 100) for step in (10, 20, 30)]
    for name, step, at, value in (*scalars, (tag, at_step, 1025.0, 0.75)):
        summary = Summary(value=[Summary.Value(tag=name, simple_value=value)])
        writer.add_event(Event(step=step, wall_time=at, summary=summary))
    writer.close()
    points = EventFiles(tmp_path).losses()
    assert [(point.step, point.validation_loss) for point in points] == [(10, None), (20, 0.75), (30, None)]
