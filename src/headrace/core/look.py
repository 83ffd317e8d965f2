"""How figures, pictures and pages look, the same in every report: one palette, one stylesheet.

Colours are the Okabe-Ito set, which colour-blind readers can tell apart. Every text given to a
page is escaped here.
"""

import base64
import io
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, GREY, GRID = "#22303c", "#8a97a3", "#e3e8ec"
BLUE, GREEN, ORANGE, RED = "#0072b2", "#009e73", "#e69f00", "#d55e00"

_TWO_UNITS = (("d", 86_400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1))
_STYLE = """
:root { color-scheme: light dark; --ink: #22303c; --soft: #5d6b77; --line: #dfe5ea; --back: #fff }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6ebef; --soft: #a3b0bb; --line: #33414d; --back: #161c22 }
}
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--back);
       max-width: 64rem; margin: 2rem auto; padding: 0 1rem }
h1 { margin: 0 } h2 { margin: 2rem 0 .5rem; font-size: 1.15rem }
p.state { color: var(--soft); margin: .2rem 0 1.5rem }
img { width: 100%; height: auto; border-radius: 6px; background: #fff }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--line);
         vertical-align: top }
th { font-weight: 600; color: var(--soft) } td.n { text-align: right; white-space: nowrap }
footer { margin-top: 2rem; color: var(--soft); font-size: .85rem }
"""


def time_unit(length_s: float) -> tuple[str, float]:
    """The unit an axis of this length is written in, and its seconds."""
    if length_s < 180:
        return "seconds", 1.0
    if length_s < 3 * 3600:
        return "minutes", 60.0
    return ("hours", 3600.0) if length_s < 4 * 86_400 else ("days", 86_400.0)


def format_seconds(seconds: float) -> str:
    """ "0.24 s", "41 s", "3 min 20 s", "5 h 12 min", "2 d 3 h": what a person reads at a glance."""
    if seconds < 10:
        return f"{seconds:.2f} s" if seconds else "0 s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    large, large_s, small, small_s = next(
        (units for units in _TWO_UNITS if whole >= units[1]), _TWO_UNITS[-1]
    )
    rest = whole % large_s // small_s
    return f"{whole // large_s} {large}" + (f" {rest} {small}" if rest else "")


def png(figure: "Figure") -> bytes:
    """Drawn by matplotlib's Agg canvas without global state, so any thread may draw."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    file = io.BytesIO()
    figure.set_canvas(FigureCanvasAgg(figure))
    figure.savefig(file, format="png")
    return file.getvalue()


def dress(axes: "Axes", title: str) -> None:
    axes.set_title(title, loc="left", color=INK, fontsize=12, pad=8)
    axes.grid(axis="y", color=GRID, lw=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(GREY)
    axes.tick_params(colors=GREY, labelsize=9, length=0)
    axes.margins(x=0.01)


def legend(axes: "Axes") -> None:
    handles, labels = axes.get_legend_handles_labels()
    if labels:
        axes.legend(
            handles,
            labels,
            loc="lower right",
            bbox_to_anchor=(1.0, 1.0),
            ncols=len(labels),
            frameon=False,
            fontsize=9,
            labelcolor=INK,
            borderaxespad=0.2,
            handlelength=1.4,
            columnspacing=1.2,
        )


def document(title: str, body: str) -> str:
    """A whole HTML document: no scripts, nothing fetched, readable on paper and in the dark."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>\n"
        f"{body}</body></html>\n"
    )


def image(picture: bytes, alt: str) -> str:
    """``picture``: PNG, put into the page itself."""
    data = base64.b64encode(picture).decode()
    return f'<img alt="{escape(alt)}" src="data:image/png;base64,{data}">\n'


def table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(text)}</td>" for text in row) + "</tr>\n" for row in rows
    )
    return f"<h2>{escape(title)}</h2>\n<table><tr>{head}</tr>\n{body}</table>\n"
