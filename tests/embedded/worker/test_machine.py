"""What the machine does, with a library of NVIDIA cards that is made up."""

import sys
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from lib.embedded.store.jobs import Store
from lib.embedded.worker.machine import Machine, nvidia_library
from lib.jobs.job_request import JobRequest
from lib.jobs.machine import MachineUse
from lib.jobs.training_settings import TrainingSettings
from lib.ui.parts.machine import machine_text, peak_text

GB = 1 << 30


class NvmlError(Exception):
    pass


def library(*used: int) -> Any:
    """One card per number of bytes; a negative one is broken, and no card says its power."""

    def memory(card: int) -> SimpleNamespace:
        if used[card] < 0:
            raise NvmlError
        return SimpleNamespace(used=used[card], total=24 * GB)

    def refuse(card: int) -> int:
        raise NvmlError

    return SimpleNamespace(
        NVMLError=NvmlError,
        NVML_TEMPERATURE_GPU=0,
        nvmlDeviceGetCount=lambda: len(used),
        nvmlDeviceGetHandleByIndex=lambda place: place,
        nvmlDeviceGetName=lambda card: b"Card",
        nvmlDeviceGetMemoryInfo=memory,
        nvmlDeviceGetUtilizationRates=lambda card: SimpleNamespace(gpu=97),
        nvmlDeviceGetTemperature=lambda card, kind: 61,
        nvmlDeviceGetPowerUsage=refuse,
    )


def look(*used: int) -> MachineUse:
    use = Machine(lambda: library(*used), every_s=0.0).look()
    assert use is not None
    return use


def test_nothing_is_imported_where_there_is_no_card(tmp_path: Path) -> None:
    assert nvidia_library(tmp_path / "nvidiactl") is None
    assert "pynvml" not in sys.modules


def test_looks_are_far_apart() -> None:
    assert [Machine(lambda: None, every_s=60.0).look() for _ in range(2)] == [None, None]


def test_a_machine_without_cards_has_processors_and_memory() -> None:
    use = Machine(lambda: None, every_s=0.0).look()
    assert use is not None
    assert use.gpus == ()
    assert 0 < use.memory_bytes < use.memory_total_bytes
    assert 0 <= use.cpu_percent <= 100
    assert peak_text(use) == peak_text(None) == ""


def test_a_card_that_fails_hides_no_other_and_an_unknown_number_is_left_out() -> None:
    use = look(-1, 2 * GB)
    (gpu,) = use.gpus
    assert (gpu.index, gpu.busy_percent, gpu.temperature_c, gpu.power_w) == (1, 97, 61, None)
    assert machine_text(use, use.at + 4).startswith("Machine now: CPU ")
    text = machine_text(use, use.at + 7)
    assert text.startswith("Machine 7 s ago: CPU ")
    assert text.endswith("· GPU 1, Card: 97%, 2 GB of 24 GB, 61 °C")


def test_the_peak_stays_with_the_finished_attempt(tmp_path: Path) -> None:
    with closing(Store(tmp_path)) as store:
        request = JobRequest(name="j", dataset_id="d", config_id=None, settings=TrainingSettings(), submission_id="s")
        job = store.submit(request, dataset_name="d", config_name=None)
        claim = store.runs.claim_next()
        assert claim is not None
        assert store.get_job(job.id).attempts[0].machine is None
        for used in (3 * GB, 11 * GB, 1 * GB):
            store.runs.record_machine(claim, look(used))
        (attempt,) = store.get_job(job.id).attempts
    assert attempt.machine is not None
    assert attempt.machine.gpus[0].memory_bytes == 1 * GB
    assert peak_text(attempt.machine) == "11 GB of 24 GB (Card)"
