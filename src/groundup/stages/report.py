"""The last stage: read what a run left behind, write `summary.json` and `report.html` beside it."""

from pathlib import Path

from groundup.core.files import require_writable, write_json, write_text
from groundup.core.logging import get_logger
from groundup.web.report import render
from groundup.web.report_data import collect, summary

logger = get_logger(__name__)


def run_report(run: Path) -> Path:
    """Write the numbers and the page of a run folder; returns the page's path. The same run gives the same bytes. The
    run may be going on: nothing but these two files is touched."""
    record = collect(run)
    require_writable(run)
    numbers = summary(record)
    page = render(record, numbers)
    write_json(run / "summary.json", numbers)
    write_text(run / "report.html", page)
    logger.info("report of %s: %s", ", ".join(record.stages), run / "report.html")
    return run / "report.html"
