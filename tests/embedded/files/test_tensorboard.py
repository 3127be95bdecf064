"""Event files, against what the recorder read from them."""

import builtins
import json
import shutil
from pathlib import Path

import pytest

from lib.embedded.files.tensorboard import EventFiles
from lib.errors import DashboardError
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


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real_import = builtins.__import__

    def refuse(name: str, *args: object, **kwargs: object) -> object:
        if name.startswith("tensorboard"):
            raise ModuleNotFoundError(name)
        return real_import(name, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(DashboardError) as caught:
        EventFiles(FOLDER / "sd-scripts-success").losses()
    assert "tensorboard" in caught.value.hint
