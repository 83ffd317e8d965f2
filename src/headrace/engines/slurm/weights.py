"""What a job's priority is made of, as sprio says. Pure.

Asked for by column, weighted and not, since the columns of ``sprio --long`` differ by release.
"""

from collections.abc import Mapping, Sequence

from headrace.engines.slurm.rows import whole
from headrace.schedule.multifactor import Factor, Factors

_COLUMNS = "irYSABFJPQNTabfjpq"
WEIGHTS_FORMAT = "|".join(f"%{letter}" for letter in _COLUMNS)


def parse_weights(text: str) -> dict[str, Factors]:
    """By job id; of one that is in several partitions, where it has the highest priority."""
    found: dict[str, Factors] = {}
    for line in text.splitlines():
        cells = dict(zip(_COLUMNS, (cell.strip() for cell in line.split("|")), strict=False))
        if len(cells) < len(_COLUMNS):
            continue
        made = _factors(cells)
        known = found.get(cells["i"])
        if known is None or known.total < made.total:
            found[cells["i"]] = made
    return found


def _factors(cells: Mapping[str, str]) -> Factors:
    def factor(weighted: str, raw: str | None = None) -> Factor:
        part = 0.0 if raw is None else _decimal(cells[raw])
        return Factor(raw=part, weighted=_decimal(cells[weighted]))

    return Factors(
        age=factor("A", "a"),
        assoc=factor("B", "b"),
        fairshare=factor("F", "f"),
        job_size=factor("J", "j"),
        partition=factor("P", "p"),
        qos=factor("Q", "q"),
        site=factor("S"),
        tres=_tres(cells["T"].split(",")),
        nice=int(_decimal(cells["N"])),
        tier=1,
        total=whole(cells["Y"]),
    )


def _tres(items: Sequence[str]) -> dict[str, Factor]:
    """ "cpu=12.5,gres/gpu=800.0" by our names of resources."""
    found = {}
    for item in items:
        name, equals, value = item.partition("=")
        if equals and _decimal(value):
            found[name.removeprefix("gres/")] = Factor(weighted=_decimal(value))
    return found


def _decimal(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
