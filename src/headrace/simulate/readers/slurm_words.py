"""Values as slurm.conf and sacctmgr write them: times, TRES, GRES, yes and no."""

import re
from collections.abc import Callable

from headrace.core.units import parse_bytes, parse_duration_s
from headrace.schedule.cluster import Tres
from headrace.simulate.readers.remarks import MOST, BadField, integer, number

_ENDLESS = ("unlimited", "infinite", "none", "-1")
_GPU_TRES = re.compile(r"gres/gpu(?::.*)?", re.IGNORECASE)
_TYPE = r"[A-Za-z_][\w.+-]*|\d[\w.+-]*(?=:)"
_GRES = re.compile(rf"gpu(?::({_TYPE}))?(?::(\d{{1,6}})([KMG]?))?(?:\(.*)?", re.ASCII)
_MIB = 1 << 20


def time_s(field: str, text: str) -> float | None:
    """Slurm's times; a bare number is minutes. None is unlimited."""
    if text.lower() in _ENDLESS:
        return None
    try:
        found = parse_duration_s(text)
    except ValueError:
        rule = "a time is minutes, HH:MM:SS or D-HH:MM:SS, or UNLIMITED"
        raise BadField(field, text, rule) from None
    if found > MOST:
        raise BadField(field, text, f"it is {MOST} s at most")
    return float(found)


def truth(text: str) -> bool:
    return text.lower() in ("yes", "true", "1", "y")


def tres(field: str, text: str) -> Tres:
    """``cpu=100,mem=4T,gres/gpu=8``: a limit or a count; memory without a unit is MiB."""
    return _tres(field, text, memory_of=lambda value: float(parse_bytes(value)))


def tres_weights(field: str, text: str, *, memory_unit: bool) -> Tres:
    """Weights. With ``memory_unit`` Mem=0.25G is a quarter for each GiB, without it a MiB."""

    def memory(value: str) -> float:
        if not memory_unit:
            return number(field, value)
        amount, unit = value, 1 << 20
        if value[-1:].upper() in "KMGTP" and value:
            amount, unit = value[:-1], parse_bytes(f"1{value[-1]}")
        return number(field, amount) / unit

    return _tres(field, text, memory_of=memory)


def _tres(field: str, text: str, *, memory_of: Callable[[str], float]) -> Tres:
    found: dict[str, float | None] = {}
    for part in filter(None, text.split(",")):
        key, equals, value = part.partition("=")
        name = _tres_name(key)
        if not equals:
            raise BadField(field, text, "TRES are written cpu=100,mem=4T,gres/gpu=8")
        if name is None:
            continue
        if value in ("-1", ""):
            found[name] = None
            continue
        try:
            found[name] = memory_of(value) if name == "memory" else number(field, value)
        except ValueError as error:
            raise BadField(field, value, str(error)) from None
    return Tres(**found)


def _tres_name(key: str) -> str | None:
    """Of those that are modelled."""
    word = key.strip().lower()
    if _GPU_TRES.fullmatch(word):
        return "gpu"
    return {"cpu": "cpu", "mem": "memory", "node": "node", "billing": "billing"}.get(word)


def gpus(field: str, text: str) -> tuple[tuple[str, int], ...]:
    """GPUs of a Gres value as (type, count); other generic resources are left out."""
    found: dict[str, int] = {}
    outside = re.sub(r"\([^()]*\)", "", text)
    for part in filter(None, outside.split(",")):
        if part.partition(":")[0].lower() != "gpu":
            continue
        match = _GRES.fullmatch("gpu" + part[3:])
        if match is None:
            raise BadField(field, part, "GPUs are written gpu:TYPE:COUNT or gpu:COUNT")
        count = integer(field, match[2] or 1) * {"": 1, "K": 1 << 10, "M": _MIB}.get(match[3], 1)
        kind = match[1] or "gpu"
        found[kind] = found.get(kind, 0) + count
    return tuple(found.items())
