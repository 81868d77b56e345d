"""How long the HTML report takes to write and to open, by the number of results.

    python benchmarks/html_report.py [results ...]

Needs selenium, chromium and chromium-driver. "ready" is when the page can be used, "painted" when the frame after
that is on the screen, both in seconds after the navigation began, each from a fresh profile.
"""

import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import click

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from chromium import open_chromium
from report_sample import MODELS, sample_run

from llm_tester.reports.html import render

TIMES = """
  const done = arguments[0];
  requestAnimationFrame(() => requestAnimationFrame(() => done([
    performance.getEntriesByName("report-ready")[0].startTime, performance.now(),
  ])));
"""
OPEN = """
  const [done, start] = [arguments[0], performance.now()];
  document.querySelector("#matrix tbody a").click();
  const look = () => (document.querySelector("dialog").open ? done(performance.now() - start) : setTimeout(look));
  look();
"""
SORT = """
  const start = performance.now();
  document.querySelector("#matrix [data-sort='0']").click();
  document.body.offsetHeight;
  return performance.now() - start;
"""


def _opened(page: Path) -> list[float]:
    with tempfile.TemporaryDirectory() as profile:
        driver = open_chromium(Path(profile))
        try:
            driver.get(page.as_uri())
            ready, painted = driver.execute_async_script(TIMES)
            times = (ready, painted, driver.execute_script(SORT), driver.execute_async_script(OPEN))
            return [milliseconds / 1000 for milliseconds in times]
        finally:
            driver.quit()


def measure(results: int, columns: int, rounds: int = 5) -> None:
    """Prints the medians for a run of that many results, over that many models."""
    run = sample_run(results // columns, MODELS[:columns])
    start = time.perf_counter()
    text = render(run)
    written = time.perf_counter() - start
    with tempfile.TemporaryDirectory() as directory:
        page = Path(directory) / "report.html"
        page.write_text(text, encoding="utf-8")
        times = [_opened(page) for _ in range(rounds)]
        ready, painted, sort, detail = map(median, zip(*times, strict=True))
        size = page.stat().st_size / 1e6
    click.echo(
        f"{len(run.results):>7,} results, {columns:>2} models: {size:5.1f} MB, rendered in {written:.2f} s; "
        f"ready {ready:.2f} s, painted {painted:.2f} s, sorted in {sort:.2f} s, first result opened in {detail:.2f} s"
    )


if __name__ == "__main__":
    for wanted in [int(text) for text in sys.argv[1:]] or [200, 2_000, 10_000]:
        measure(wanted, 10)
    measure(10_000, 1)
