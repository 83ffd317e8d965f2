"""How many, how much, how long: the written forms of amounts, read one at a time.

Nodes, GPUs, memory, times, intervals, arrays, layouts. Same contract as ``headrace.spec.forms``:
plain values come out, values of a final type pass through, and what is wrong is an ``Invalid``.
"""

import re
from collections.abc import Mapping

from headrace.core.units import format_duration, parse_bytes, parse_count, parse_duration_s
from headrace.spec.forms import Invalid, closest, is_final, text, words

ARRAY_MAX = 10_000
LAYOUT_KEYS = ("dp", "fsdp", "tp", "pp", "cp", "recompute", "micro_batch")
RECOMPUTE_WORDS = ("none", "selective", "full")
_INT = re.compile(r"[+-]?\d{1,15}", re.ASCII)
_GPU_TYPE = r"(?P<type>(?=\w*[A-Za-z]|\d{3})\w[\w.+-]*)"
"""H100, 2080ti, 3090, 1g.10gb; fewer than three digits are a number of them."""
_GPUS = re.compile(rf"(?:{_GPU_TYPE}:)?(?P<count>\d{{1,6}})", re.ASCII)
_GPUS_TURNED = re.compile(rf"(?P<count>\d{{1,2}}):{_GPU_TYPE}", re.ASCII)
_ARRAY_PART = re.compile(r"(\d{1,9})(?:-(\d{1,9})(?::(\d{1,9}))?)?", re.ASCII)
_UNTIL = re.compile(r"(\S+?)\s*(steps?|tokens?|samples?|epochs?)", re.IGNORECASE)
_EVERY_STEPS = re.compile(r"(\S+?)\s*steps?", re.IGNORECASE)


def count(value: object, *, least: int, what: str) -> int:
    """A whole number that is ``least`` or more."""
    if isinstance(value, str) and _INT.fullmatch(value.strip()):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise Invalid(f"{what} is a whole number", nearest=_word_as_number(value))
    if value < least:
        nearest = str(-value) if least <= -value < 1_000_000 else str(least)
        raise Invalid(f"{what} is {least} or more", nearest=nearest)
    return value


_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def exit_code(value: object) -> int:
    """1 to 255."""
    number = count(value, least=1, what="an exit code of a failure")
    if number > 255:
        raise Invalid("an exit code is 255 or less", nearest="255")
    return number


def _word_as_number(value: object) -> str | None:
    if isinstance(value, str) and value.lower() in _WORDS:
        return str(_WORDS.index(value.lower()))
    return None


def nodes(value: object) -> object:
    """2, "2-8", "2:8"."""
    if is_final(value):
        return value
    low, dash, high = str(value).strip().replace(":", "-").partition("-")
    if isinstance(value, str) and dash and low.strip().isdigit() and high.strip().isdigit():
        least, most = int(low[:9]), int(high[:9])
        if least > most:
            raise Invalid("the smaller number comes first", nearest=f"{max(most, 1)}-{least}")
        if least < 1:
            raise Invalid("a run has 1 node or more", nearest=f"1-{max(most, 1)}")
        return {"min": least, "max": most}
    try:
        number = count(value, least=1, what="a number of nodes")
    except Invalid as invalid:
        if isinstance(value, str) and not _INT.fullmatch(value.strip()):
            rule = "nodes is a whole number, or two with a dash for an elastic run"
            raise Invalid(rule, nearest=invalid.nearest) from None
        raise
    return {"min": number, "max": number}


def gpus(value: object) -> object:
    """8, "H100:8", "3090:8"."""
    if value is None or is_final(value):
        return value
    written = text(value, what="a number of GPUs").strip()
    if turned := _GPUS_TURNED.fullmatch(written):
        raise Invalid("the type comes first", nearest=f"{turned['type']}:{turned['count']}")
    found = _GPUS.fullmatch(written)
    if found is None:
        nearest = _word_as_number(written) or (f"{written}:1" if written.isalnum() else None)
        raise Invalid("GPUs are a number per node, or TYPE:NUMBER such as H100:8", nearest=nearest)
    number, kind = int(found["count"]), found["type"]
    if kind and number == 0:
        raise Invalid("a type of GPU needs 1 or more of them", nearest=f"{kind}:1")
    return {"count": number, "type": kind}


def auto_count(value: object) -> int | None:
    """1 or more, or "auto"."""
    if value is None or (isinstance(value, str) and value.strip().lower() == "auto"):
        return None
    return count(value, least=1, what="this")


def memory_bytes(value: object) -> int | None:
    """Text as Slurm reads it, a number is bytes."""
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        return count(value, least=1, what="memory in bytes")
    written = text(value, what="memory")
    try:
        size = parse_bytes(written)
    except ValueError as error:
        raise Invalid(str(error), nearest=_digits_with(written, "G")) from None
    if size <= 0:
        raise Invalid("memory is more than nothing", nearest="1G")
    return size


def checkpoint_memory(value: object) -> int | None:
    """ "auto" is None, "off" is 0, else as ``memory_bytes``."""
    if value == 0 and not isinstance(value, bool):
        return 0
    word = value.strip().lower() if isinstance(value, str) else None
    return None if word == "auto" else 0 if word == "off" else memory_bytes(value)


def steps(value: object) -> int | None:
    """A number of steps, "10k" too; None is none."""
    return None if value is None else count(value, least=1, what="a number of steps")


def time_s(value: object) -> int | None:
    """Text as Slurm reads it or with units, a number is seconds; "unlimited" is None."""
    if value is None or (isinstance(value, str) and value.lower() in ("unlimited", "infinite")):
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        return count(value, least=1, what="a time limit in seconds")
    return _duration_s(text(value, what="a time limit"), what="a time limit", nearest="4h")


def _duration_s(written: str, *, what: str, nearest: str) -> int:
    try:
        found_s = parse_duration_s(written)
    except ValueError as error:
        raise Invalid(str(error), nearest=_digits_with(written, "h") or nearest) from None
    if found_s == 0:
        raise Invalid(f"{what} is longer than 0", nearest=nearest)
    return found_s


def _digits_with(written: str, unit: str) -> str | None:
    digits = re.search(r"\d{1,9}", written)
    return f"{int(digits[0])}{unit}" if digits and int(digits[0]) else None


def _unit_duration_s(written: str, *, what: str, nearest: str) -> int:
    """As ``time_s``, but a bare number is refused: outside of ``time`` nobody expects minutes."""
    if written.isdigit():
        shown = format_duration(int(written[:9]))
        raise Invalid(f"{what} needs a unit", nearest=shown if int(written[:9]) else nearest)
    return _duration_s(written, what=what, nearest=nearest)


def every(value: object) -> object:
    """ "auto", "10m", "500 steps"."""
    if value is None or is_final(value):
        return value
    written = text(value, what="an interval").strip()
    if written.lower() == "auto":
        return None
    if found := _EVERY_STEPS.fullmatch(written):
        return {"steps": _quantity(found[1], "steps", nearest="500 steps")}
    return {"duration_s": _unit_duration_s(written, what="an interval", nearest="10m")}


def grace_s(value: object) -> int | None:
    """ "auto" or a duration; a number is seconds."""
    if value is None or (isinstance(value, str) and value.strip().lower() == "auto"):
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        return count(value, least=1, what="grace in seconds")
    return _unit_duration_s(text(value, what="grace").strip(), what="grace", nearest="5m")


def _quantity(written: str, unit: str, *, nearest: str) -> int:
    try:
        number = parse_count(written)
    except ValueError as error:
        raise Invalid(str(error), nearest=nearest) from None
    if number < 1:
        raise Invalid(f"{unit} are 1 or more", nearest=f"1 {unit}")
    return number


def until(value: object) -> object:
    """ "10000 steps", "3B tokens", "50k samples", "2 epochs" (also 0.5)."""
    if value is None or is_final(value):
        return value
    written = text(value, what="until").strip()
    found = _UNTIL.fullmatch(written)
    if found is None:
        nearest = f"{written} steps" if written.isdigit() else None
        rule = "until is a number and one of steps, tokens, samples, epochs"
        raise Invalid(rule, nearest=nearest or "10000 steps")
    unit = found[2].lower().rstrip("s") + "s"
    if unit != "epochs":
        return {unit: _quantity(found[1], unit, nearest=f"1000 {unit}")}
    if not re.fullmatch(r"\d{1,9}(\.\d{1,9})?", found[1], re.ASCII) or float(found[1]) == 0:
        raise Invalid("epochs are a number above 0", nearest="1 epochs")
    return {"epochs": float(found[1])}


def array(value: object) -> object:
    """ "0-99%8", "1,3,7-9", "0-10:2"."""
    if value is None or is_final(value):
        return value
    written = text(value, what="an array").replace(" ", "")
    listed, percent, throttle = written.partition("%")
    indices: list[int] = []
    for part in listed.split(","):
        indices.extend(_array_part(part))
        if len(indices) > ARRAY_MAX:
            raise Invalid(
                f"an array has at most {ARRAY_MAX} elements", nearest=f"0-{ARRAY_MAX - 1}"
            )
    if len(set(indices)) != len(indices):
        raise Invalid("an array names each index once", nearest=_ranges(sorted(set(indices))))
    if percent and not re.fullmatch(r"[1-9]\d{0,8}", throttle, re.ASCII):
        raise Invalid("after % comes how many may run at once", nearest=f"{listed}%1")
    return {"indices": tuple(indices), "throttle": int(throttle) if percent else None}


def _array_part(part: str) -> range:
    found = _ARRAY_PART.fullmatch(part)
    if found is None:
        raise Invalid("an array is written 0-99%8, 1,3,7-9 or 0-10:2", nearest="0-9")
    first = int(found[1])
    last = int(found[2]) if found[2] else first
    step = int(found[3]) if found[3] else 1
    if last < first:
        raise Invalid("the smaller index comes first", nearest=f"{last}-{first}")
    if step < 1:
        raise Invalid("the step of an array is 1 or more", nearest=f"{first}-{last}")
    if (last - first) // step >= ARRAY_MAX:
        raise Invalid(
            f"an array has at most {ARRAY_MAX} elements",
            nearest=f"{first}-{first + (ARRAY_MAX - 1) * step}" + (f":{step}" if step > 1 else ""),
        )
    return range(first, last + 1, step)


def _ranges(indices: list[int]) -> str:
    """Indices as Slurm writes them: "1,3,7-9". Order is kept."""
    parts: list[list[int]] = []
    for index in indices:
        if parts and parts[-1][1] == index - 1:
            parts[-1][1] = index
        else:
            parts.append([index, index])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)


def format_array(indices: tuple[int, ...], throttle: int | None) -> str:
    """What ``array`` reads back."""
    return _ranges(list(indices)) + (f"%{throttle}" if throttle else "")


def layout(value: object) -> object:
    """ "auto", or sizes per dimension; ``-`` and ``_`` are the same in keys."""
    if value is None or (isinstance(value, str) and value.strip().lower() == "auto"):
        return None
    if not isinstance(value, Mapping):
        rule = f"layout is auto, or a mapping of {', '.join(LAYOUT_KEYS)}"
        raise Invalid(rule, nearest="auto")
    read: dict[str, int | str] = {}
    for key, given in value.items():
        known = str(key).strip().replace("-", "_")
        try:
            read[known] = _layout_part(known, given)
        except Invalid as invalid:
            raise Invalid(
                invalid.rule, nearest=invalid.nearest, at=(key,), renames=known not in LAYOUT_KEYS
            ) from None
    return read


def _layout_part(key: str, given: object) -> int | str:
    if key == "recompute":
        return str(words(RECOMPUTE_WORDS, "recompute")(given))
    if key not in LAYOUT_KEYS:
        raise Invalid(f"a layout has {', '.join(LAYOUT_KEYS)}", nearest=closest(key, LAYOUT_KEYS))
    return count(given, least=1, what=key)
