"""What a link says stands in its fields, also where the browser draws only the second of two answers."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from streamlit.proto.WidgetStates_pb2 import WidgetStates
from streamlit.testing.v1 import AppTest

from lib.jobs.dataset import Dataset
from lib.jobs.job import LossPoint
from lib.sources.memory import MemorySource
from tests.making import NOW
from tests.monitor_jobs import fill

LINKS: dict[str, tuple[dict[str, str], dict[str, object]]] = {
    "compare": (
        {"ids": "run,done", "x": "time", "smooth": "50", "log": "1", "epoch": "2", "all": "1"},
        {"compare-x": [2], "compare-smooth": [50], "compare-log": True, "compare-epoch": [1], "compare-all": True},
    ),
    "job": ({"id": "run", "view": "samples", "scale": "log"}, {"view": [1], "chart-scale": True}),
    "jobs": (
        {
            "status": "failed",
            "q": "Aria",
            "tag": "fox",
            "sortBy": "name",
            "take": "50",
            "columns": "status",
            "createdFrom": "2026-11-01T00:00:00Z",
            "createdUntil": "2026-11-03T00:00:00Z",
        },
        {
            "filter-status": [4],
            "filter-search": "Aria",
            "filter-tag": "fox",
            "filter-sort": 3,
            "chosen-columns": [1],
            "filter-days": ["2026-11-01", "2026-11-02"],
        },
    ),
    "new_job": ({"step": "2"}, {"wizard-step": [1]}),
    "overview": ({"window": "30d"}, {"outcomes-window": 2}),
}


@pytest.mark.parametrize("page", LINKS)
def test_a_second_answer_tells_the_values_of_the_link_or_has_them_as_defaults(
    page: str, open_page: Callable[..., AppTest], source: MemorySource, tmp_path: Path
) -> None:
    fill(source, NOW, tmp_path)
    source.losses["run", 1] = [LossPoint(step=step, loss=0.1) for step in range(1, 100)]
    source.datasets.kept["d"] = Dataset(id="d", name="Fox", image_count=12)
    params, expected = LINKS[page]
    app = open_page(page, **params)
    app = app._run(WidgetStates())  # a browser that has drawn nothing yet
    protos = {
        each.proto.id.split("-", 2)[-1]: each.proto
        for each in walk(app._tree)
        if hasattr(getattr(each, "proto", None), "id")
    }
    by_default = {key: default_of(protos[key]) for key in expected if not protos[key].set_value}
    assert by_default == {key: expected[key] for key in by_default}


def default_of(proto: Any) -> object:
    """A value, or the places of the chosen options."""
    return proto.default if isinstance(proto.default, bool | str | int) else list(proto.default)


def walk(node: Any) -> Iterator[Any]:
    """Every element of a page."""
    for child in getattr(node, "children", {}).values():
        yield child
        yield from walk(child)
