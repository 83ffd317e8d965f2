"""A comparison as one HTML file, and as tables for notebooks. Pictures lie in the page itself."""

from collections.abc import Sequence
from html import escape

from headrace.core.look import document, image
from headrace.simulate.comparison import Comparison
from headrace.simulate.rows import GROUPS, Row, by, curve_rows, heads, never_started, summary

_ALT = (
    "Waits of each policy as a distribution and by size, use and queue length over time; "
    "the tables below hold the figures"
)


def page(comparison: Comparison, picture: bytes) -> str:
    """A whole HTML document. ``picture``: PNG."""
    title = f"{comparison.trace}: {', '.join(one.policy for one in comparison.measures)}"
    return document(
        title,
        f"<h1>{escape(comparison.trace)}</h1>\n"
        f'<p class="state">{comparison.jobs:,} jobs on {escape(comparison.machine)}</p>\n'
        + image(picture, _ALT)
        + tables(comparison),
    )


def tables(comparison: Comparison) -> str:
    """The replay check, all tables and the notes, as HTML without a frame."""
    names = heads(comparison)
    parts = []
    if comparison.fidelity is not None:
        parts.append(f"<p><strong>{escape(comparison.fidelity.sentence)}</strong></p>\n")
    if comparison.failures is not None:
        source = comparison.failures.source or comparison.failures.name
        parts.append(f"<p>Failures: {escape(source)}; seed {comparison.seed}.</p>\n")
    parts.append(_table("Policies side by side", ("", *names), summary(comparison)))
    for what, (_, title) in GROUPS.items():
        if rows := by(comparison, what):
            parts.append(_table(title, (f"{what} (jobs)", *names), rows))
    if rows := curve_rows(comparison):
        policies = [one.policy for one in comparison.curves]
        parts.append(_table("Wait of 9 of 10 jobs by nodes", ("nodes", *policies), rows))
    notes = [*never_started(comparison), *comparison.notes]
    parts.append("<h2>Notes</h2>\n<ul>")
    parts.extend(f"<li>{escape(note)}</li>" for note in notes)
    parts.append("</ul>\n")
    return "".join(parts)


def _table(title: str, columns: Sequence[str], rows: Sequence[Row]) -> str:
    head = "".join(f"<th>{escape(text)}</th>" for text in columns)
    body = []
    for row in rows:
        cells = (
            f"<td><strong>{escape(text)}</strong></td>"
            if number in row.best
            else f"<td>{escape(text)}</td>"
            for number, text in enumerate(row.cells)
        )
        body.append(f"<tr><td>{escape(row.label)}</td>{''.join(cells)}</tr>\n")
    return f"<h2>{escape(title)}</h2>\n<table><tr>{head}</tr>\n{''.join(body)}</table>\n"
