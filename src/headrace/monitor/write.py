"""Write a run's report beside the run: JSON for programs, HTML and PNG for people."""

from pathlib import Path

from headrace.core.errors import HeadraceError
from headrace.core.records import Record, encode, write_file
from headrace.monitor.history import load
from headrace.monitor.page import page
from headrace.monitor.picture import draw
from headrace.monitor.report import Report, report


class ReportNotWritten(HeadraceError):
    """The run directory does not take the report's files."""

    code = "HR-MONITOR-001"

    def __init__(self, folder: Path, detail: str) -> None:
        super().__init__(
            f"cannot write the report into {folder}: {detail}",
            why="a report lies in the run directory, next to what it was made of",
            remedy="make room or ask the run's owner; --json prints the report without writing",
        )


class Written(Record, frozen=True, kw_only=True):
    """Where the report's files are, and what they say."""

    report: Report
    json: Path
    html: Path
    png: Path


def write_report(folder: Path) -> Written:
    """Write report.json, report.html and report.png into the run directory ``folder``.

    Each file is replaced whole. Raise ``ReportNotWritten``.
    """
    history = load(folder)
    found = report(history)
    picture = draw(history, found)
    written = Written(
        report=found,
        json=folder / "report.json",
        html=folder / "report.html",
        png=folder / "report.png",
    )
    try:
        write_file(written.png, picture)
        write_file(written.html, page(found, picture).encode())
        write_file(written.json, encode(found) + b"\n")
    except OSError as error:
        raise ReportNotWritten(folder, error.strerror or str(error)) from error
    return written
