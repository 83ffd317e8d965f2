"""The report as one HTML file: no scripts, nothing fetched, readable on paper and in the dark.

Names, details and log text come from users and programs: every one is escaped.
"""

import time
from html import escape

from headrace.core.look import document, format_seconds, image, table
from headrace.monitor.report import Report
from headrace.monitor.series import TITLES, format_energy
from headrace.monitor.timeline import Cause

_GIB = 1 << 30


def page(report: Report, picture: bytes) -> str:
    """A whole HTML document. ``picture``: PNG, put into the page itself."""
    notes = "".join(f"<li>{escape(note)}</li>" for note in report.notes)
    attempts = ("attempt", "time", "ranks", "outcome", "detail")
    alt = (
        f"Loss, samples a second, use of the machine and time by cause of {report.run_id}; "
        "the tables below hold the figures"
    )
    return document(
        report.run_id,
        f"<h1>{escape(report.run_id)}</h1>\n"
        f'<p class="state"><strong>{escape(report.state)}</strong> {escape(report.detail)}</p>\n'
        + (f"<h2>Notes</h2>\n<ul>{notes}</ul>\n" if notes else "")
        + image(picture, alt)
        + table("Summary", ("what", "value"), summary(report))
        + table("Where the time went", ("cause", "time", "share"), time_rows(report))
        + table("Attempts", attempts, _attempt_rows(report))
        + f"<footer>Times are UTC. Energy: {escape(report.usage.energy.method)}.</footer>\n",
    )


def summary(report: Report) -> list[tuple[str, str]]:
    """(what, value) of everything known, for the page and the terminal."""
    loss, saved = report.loss, report.checkpoints
    restarts = f"{report.restarts} restart{'' if report.restarts == 1 else 's'}"
    rows = [
        ("user", report.user),
        ("submitted", _utc(report.begin_s)),
        ("wall time", format_seconds(report.wall_s)),
        ("waited in the queue", format_seconds(report.queue_s)),
        ("attempts", f"{len(report.attempts)} ({restarts})"),
    ]
    if report.steps:
        of = f" of {report.total_steps:,}" if report.total_steps else ""
        again = f", {report.steps_repeated:,} done twice" if report.steps_repeated else ""
        rows.append(("steps", f"{report.steps:,}{of}{again}"))
        rows.append(("goodput", f"{100 * report.goodput:.1f} % of the wall time"))
    if report.samples_per_s_median is not None and report.samples_per_s_overall is not None:
        rows.append(
            (
                "samples a second",
                f"{report.samples_per_s_median:,.4g} in a step (median), "
                f"{report.samples_per_s_overall:,.4g} overall",
            )
        )
    if loss is not None:
        last = "not a number" if loss.last is None else f"{loss.last:.5g}"
        best = f"best {loss.best:.5g} at step {loss.best_step:,}"
        rows.append(("loss", f"{last} (first {loss.first:.5g}, {best})"))
    if saved is not None:
        rows.append(
            (
                "checkpoints",
                f"{saved.saved}, last at step {saved.last_step:,}, "
                f"{saved.size_bytes / _GIB:.2f} GiB, stall {format_seconds(saved.stall_s)}, "
                f"durable after {format_seconds(saved.durable_s)} (medians)",
            )
        )
    rows += _usage_rows(report)
    return [(what, value) for what, value in rows if value]


def _usage_rows(report: Report) -> list[tuple[str, str]]:
    used = report.usage
    rows = []
    if used.cpu_hours_allocated:
        share = "" if used.cpu_ratio is None else f", {100 * used.cpu_ratio:.0f} % used"
        rows.append(("CPU hours", f"{used.cpu_hours_allocated:,.3g} on {used.cpus} CPUs{share}"))
    if used.gpu_hours_allocated:
        share = "" if used.gpu_ratio is None else f", {100 * used.gpu_ratio:.0f} % used"
        rows.append(("GPU hours", f"{used.gpu_hours_allocated:,.3g} on {used.gpus} GPUs{share}"))
    if used.memory_peak_bytes:
        given = used.memory_given_bytes
        of = f" of {given / _GIB:.1f}" if given else ""
        peak = f"{used.memory_peak_bytes / _GIB:.2f}{of} GiB a node ({used.memory_kind.upper()})"
        rows.append(("memory, peak", peak))
    if used.energy.total_kwh is not None:
        kind = "measured"
        if used.energy.estimated_kwh:
            kind = "estimate" if not used.energy.measured_kwh else "partly an estimate"
        text = f"{format_energy(used.energy.total_kwh)} ({kind}: {used.energy.method})"
        rows.append(("energy", text))
    return rows


def time_rows(report: Report) -> list[tuple[str, str, str]]:
    """(cause, time, share) of every cause that took time."""
    return [
        (
            TITLES[cause],
            format_seconds(report.seconds[cause]),
            f"{100 * report.seconds[cause] / report.wall_s:.1f} %",
        )
        for cause in Cause
        if report.seconds[cause] > 0
    ]


def _attempt_rows(report: Report) -> list[tuple[str, ...]]:
    return [
        (
            str(attempt.number),
            format_seconds(attempt.duration_s),
            str(attempt.world_size),
            attempt.outcome,
            attempt.detail,
        )
        for attempt in report.attempts
    ]


def _utc(time_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(time_s))
