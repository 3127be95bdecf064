"""Server time of one run of the list and of the overview, with 100 and with 100,000 embedded jobs.

    uv run python -m tests.benchmarks.bench_pages [jobs]

Each run reads afresh (the shared caches are cleared) and nothing is drawn: what is measured is the page's script.
"""

import gc
import statistics
import sys
import tempfile
import time
from pathlib import Path

from streamlit.testing.v1 import AppTest

from lib import services
from lib.embedded.store.jobs import Store
from lib.sources.embedded.source import EmbeddedSource
from tests.benchmarks.bench_store import made_jobs
from tests.embedded.known_jobs import put_jobs

APP = str(Path(__file__).parents[2] / "lib" / "app.py")
RUNS = 25
PAGES = {
    "overview": ("overview", {}),
    "list": ("jobs", {}),
    "list, page 50": ("jobs", {"skip": "980"}),
    "list, failed by name": ("jobs", {"status": "failed", "sortBy": "name", "sortOrder": "asc"}),
    "list, search": ("jobs", {"q": "aria"}),
}


def median_ms(name: str, params: dict[str, str]) -> float:
    """Median time of a full run in ms."""
    app = AppTest.from_file(APP, default_timeout=60)
    for key, value in params.items():
        app.query_params[key] = value
    app.run() if name == "overview" else app.run().switch_page(f"../pages/{name}.py").run()
    assert not app.exception
    assert not app.error
    times = []
    for _ in range(RUNS):
        services.forget_reads()
        begun = time.perf_counter()
        app.run()
        times.append((time.perf_counter() - begun) * 1000)
    return statistics.median(times)


def measured(count: int, folder: Path) -> dict[str, float]:
    """Page -> median ms with ``count`` jobs."""
    data_dir = folder / f"data-{count}"
    store = Store(data_dir)
    put_jobs(store, made_jobs(count))
    store.close()
    source = EmbeddedSource(data_dir)
    services.connect(source)
    gc.collect()
    gc.freeze()
    figures = {label: median_ms(name, params) for label, (name, params) in PAGES.items()}
    source.close()
    return figures


def main() -> None:
    """Print the table."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory() as name:
        few, many = measured(100, Path(name)), measured(count, Path(name))
    print(f"{'page':24s}{'100 jobs':>12s}{f'{count:,} jobs':>16s}{'ratio':>8s}")
    for label in PAGES:
        print(f"{label:24s}{few[label]:9.1f} ms{many[label]:13.1f} ms{many[label] / few[label]:8.2f}")


if __name__ == "__main__":
    main()
