"""The forms in which values are written, read one at a time: text in, plain values out.

Every function takes what stood in a file, a flag or a Python call and returns builtins that the
types of ``headrace.spec.job`` take; values that have their final type pass through. What is wrong is
an ``Invalid`` with the rule and, where there is one, the nearest right value.
"""

import difflib
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import PurePath

from headrace.core.units import format_duration, parse_bytes, parse_count, parse_duration_s

ARRAY_MAX = 10_000
_NAME_MAX = 40
_INT = re.compile(r"[+-]?\d{1,15}", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff]")
_SCRIPT_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_GPUS = re.compile(r"(?:(?P<type>[A-Za-z][\w.+-]*):)?(?P<count>\d{1,6})", re.ASCII)
_GPUS_TURNED = re.compile(r"(\d{1,6}):([A-Za-z][\w.+-]*)", re.ASCII)
_ARRAY_PART = re.compile(r"(\d{1,9})(?:-(\d{1,9})(?::(\d{1,9}))?)?", re.ASCII)
_IMAGE_SCHEMES = ("docker", "oras", "library", "shub", "dockerd", "podman", "http", "https")
_IMAGE = re.compile(r"(?:([a-z]+)://)?[A-Za-z0-9._~/-][A-Za-z0-9._~/:@#+-]*", re.ASCII)
_UNTIL = re.compile(r"(\S+?)\s*(steps?|tokens?|samples?|epochs?)", re.IGNORECASE)
_EVERY_STEPS = re.compile(r"(\S+?)\s*steps?", re.IGNORECASE)

RESTART_WORDS = ("preempt", "node", "hang", "oom", "error")
LAYOUT_SIZES = ("dp", "fsdp", "tp", "pp", "cp", "micro_batch")
RECOMPUTE_WORDS = ("none", "selective", "full")


class Invalid(ValueError):
    """A value breaks ``rule``. ``nearest`` is a value that would do, as it would be written.

    ``at`` leads from the field to the part of it that is wrong.
    """

    def __init__(
        self, rule: str, *, nearest: str | None = None, at: tuple[str | int, ...] = ()
    ) -> None:
        super().__init__(rule)
        self.rule = rule
        self.nearest = nearest
        self.at = at


def closest(word: str, known: Collection[str]) -> str | None:
    """The known word that is most like ``word``, or None when none is."""
    lowered = {entry.lower(): entry for entry in known}
    found = difflib.get_close_matches(word.lower(), lowered, n=1, cutoff=0.55)
    return lowered[found[0]] if found else None


def text(value: object, *, what: str = "text") -> str:
    """One line of text, not empty. Numbers are taken as they are written."""
    if isinstance(value, bool) or not isinstance(value, str | int | float | PurePath):
        raise Invalid(f"{what} is one value, not {kind_of(value)}")
    written = str(value)
    if not written.strip():
        raise Invalid(f"{what} is not empty")
    if _CONTROL.search(written):
        raise Invalid(f"{what} has no control characters", nearest=_CONTROL.sub("", written))
    return written


def kind_of(value: object) -> str:
    """What a person calls a value of this kind."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return f"the truth value {str(value).lower()}"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    return "a number" if isinstance(value, int | float) else "text"


def script_text(value: object) -> str:
    """Shell text of one line or many."""
    if not isinstance(value, str):
        raise Invalid(f"a command is text, not {kind_of(value)}")
    if not value.strip():
        raise Invalid("a command is not empty", nearest="python train.py")
    if _SCRIPT_CONTROL.search(value):
        raise Invalid("a command has no control characters", nearest=_SCRIPT_CONTROL.sub("", value))
    return value


def name(value: object) -> str:
    """A run's name: lower-case letters, digits, dot, dash, underscore; at most 40."""
    written = text(value, what="a name")
    if written != slug(written):
        raise Invalid(
            f"a name has a-z, 0-9, dot, dash and underscore only, and at most {_NAME_MAX} of them",
            nearest=slug(written),
        )
    return written


def slug(written: str) -> str:
    """The nearest right name."""
    lowered = re.sub(r"[^a-z0-9._-]+", "-", written.lower())
    return lowered[:_NAME_MAX].strip("-.") or "run"


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


_WORDS = "zero one two three four five six seven eight nine ten eleven twelve".split()


def _word_as_number(value: object) -> str | None:
    if isinstance(value, str) and value.lower() in _WORDS:
        return str(_WORDS.index(value.lower()))
    return None


def nodes(value: object) -> object:
    """2, "2-8", "2:8"."""
    if isinstance(value, Mapping) or _has_final_type(value):
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
    """8, "H100:8"."""
    if value is None or isinstance(value, Mapping) or _has_final_type(value):
        return value
    written = text(value, what="a number of GPUs").strip()
    if turned := _GPUS_TURNED.fullmatch(written):
        raise Invalid("the type comes first", nearest=f"{turned[2]}:{turned[1]}")
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
    if value is None or isinstance(value, Mapping) or _has_final_type(value):
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
    if value is None or isinstance(value, Mapping) or _has_final_type(value):
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
    if value is None or isinstance(value, Mapping) or _has_final_type(value):
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


def words(known: Collection[str], what: str) -> Callable[[object], object]:
    """A reader of one word out of ``known``."""

    def read(value: object) -> object:
        written = text(value, what=what).strip()
        if written not in known:
            rule = f"{what} is one of {', '.join(known)}"
            raise Invalid(rule, nearest=closest(written, known))
        return written

    return read


def variable(value: object) -> str:
    """The name of an environment variable."""
    written = text(value, what="the name of a variable")
    if not _VARIABLE.fullmatch(written):
        cleaned = re.sub(r"[^A-Za-z0-9_]", "_", written.partition("=")[0].strip()).lstrip(
            "0123456789"
        )
        rule = "the name of a variable has letters, digits and underscores, and no digit first"
        raise Invalid(rule, nearest=cleaned or None)
    return written


def image(value: object) -> str | None:
    """A file (model.sif), a reference (nvcr.io/nvidia/pytorch:25.01-py3, docker://..) or "none"."""
    if value is None:
        return None
    written = text(value, what="an image")
    if written.lower() == "none":
        return None
    found = _IMAGE.fullmatch(written)
    if found is None:
        rule = "an image is a file such as model.sif, or a reference such as docker://python:3.12"
        raise Invalid(rule, nearest=re.sub(r"[^A-Za-z0-9._~/:@#+-]", "", written) or None)
    if found[1] and found[1] not in _IMAGE_SCHEMES:
        near = closest(found[1], _IMAGE_SCHEMES) or "docker"
        rule = f"the scheme of an image is one of {', '.join(_IMAGE_SCHEMES)}"
        raise Invalid(rule, nearest=f"{near}://{written.partition('://')[2]}")
    return written


def one_or_many(value: object) -> object:
    """A list; one value alone is a list of it; text with commas is split, as in flags."""
    if value is None:
        return ()
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return (value,) if isinstance(value, int) else value


def _has_final_type(value: object) -> bool:
    return hasattr(type(value), "model_fields")
