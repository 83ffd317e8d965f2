"""The forms in which values are written, read one at a time: text in, plain values out.

Every function takes what stood in a file, a flag or a Python call and returns builtins that the
types of ``headrace.spec.job`` take; values that have their final type pass through. What is wrong
is an ``Invalid`` with the rule and, where there is one, the nearest right value.
"""

import difflib
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path, PurePath

_NAME_MAX = 40
_ALIKE = 0.6
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff]")
_UNPASSABLE = re.compile(r"[\x00\ud800-\udfff]")  # no argument or variable can hold it
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_TARGET = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)
_IMAGE_SCHEMES = ("docker", "oras", "library", "shub", "podman", "https")
_IMAGE = re.compile(r"(?:([a-z]+)://)?[A-Za-z0-9._~/-][A-Za-z0-9._~/:@#+-]*", re.ASCII)
_OPTION = re.compile(r"[a-z][a-z0-9-]+", re.ASCII)

STAGE_WORDS = ("nvme", "memory")
RESTART_WORDS = ("preempt", "node", "hang", "oom", "error", "time")
SBATCH_FIELDS = {
    "nodes": "nodes",
    "ntasks-per-node": "ranks_per_node",
    "cpus-per-task": "cpus_per_rank",
    "gpus-per-node": "gpus_per_node",
    "time": "time",
    "job-name": "name",
    "account": "account",
    "partition": "partition",
    "qos": "qos",
    "array": "array",
    "chdir": "workdir",
}
"""Options of sbatch that a field of the job file stands for."""


class Invalid(ValueError):
    """A value breaks ``rule``. ``nearest`` is a value that would do, as it would be written.

    ``at`` leads from the field to the part of it that is wrong. ``shown`` stands for the value in
    messages where the value itself must not (secrets). ``renames``: the key is wrong, not what
    stands under it, and ``nearest`` is a right key.
    """

    def __init__(
        self,
        rule: str,
        *,
        nearest: str | None = None,
        at: tuple[str | int, ...] = (),
        shown: str | None = None,
        renames: bool = False,
    ) -> None:
        super().__init__(rule)
        self.rule = rule
        self.nearest = nearest
        self.at = at
        self.shown = shown
        self.renames = renames


class Conflict(Invalid):
    """Fields exclude or miss each other: ``what`` happened, by which ``rule``, ``fix``."""

    def __init__(self, what: str, *, rule: str, fix: str, at: tuple[str | int, ...] = ()) -> None:
        super().__init__(rule, nearest=fix, at=at)
        self.what = what
        self.fix = fix


def closest(word: str, known: Collection[str], *, at_least: float = _ALIKE) -> str | None:
    """The known word that is most like ``word``, or None when none is."""
    asked = word.lower()
    likeness = {
        entry: difflib.SequenceMatcher(None, asked, entry.lower()).ratio()
        + 0.05 * (entry[:1].lower() == asked[:1])
        for entry in known
    }
    best = max(likeness, key=lambda entry: likeness[entry], default=None)
    return best if best is not None and likeness[best] >= at_least else None


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
        return "a list" if value else "an empty list"
    return "a number" if isinstance(value, int | float) else "text"


def shell(value: object) -> str:
    """Shell text of one line or many."""
    written = argument(value)
    if not written.strip():
        raise Invalid("a command is not empty", nearest="python train.py")
    return written


def argument(value: object) -> str:
    """One argument or value of a variable: any text that a process can be given."""
    if isinstance(value, bool) or not isinstance(value, str | int | float | PurePath):
        raise Invalid(f"this is text, not {kind_of(value)}")
    written = str(value)
    if _UNPASSABLE.search(written):
        rule = "text for a process is valid Unicode without NUL"
        raise Invalid(rule, nearest=_UNPASSABLE.sub("", written) or None)
    return written


def setting(value: object) -> str:
    """The value of an environment variable: text, or a number as it is written."""
    try:
        return argument(value)
    except Invalid as invalid:
        if isinstance(value, bool) or value is None or not isinstance(value, str):
            rule = f"the value of a variable is text, not {kind_of(value)}"
            quoted = '"1"' if value is True else '"0"' if value is False else '""'
            raise Invalid(rule, nearest=quoted) from None
        raise invalid from None


def token(value: object) -> str:
    """A word without spaces: the name of an account, a partition, a model."""
    written = text(value).strip()
    if re.search(r"\s", written):
        raise Invalid("this is one word, without spaces", nearest=re.sub(r"\s+", "_", written))
    return written


def line(value: object) -> str:
    """One line of text."""
    return text(value)


def target(value: object) -> str:
    """ "package.module:function"."""
    written = text(value, what="a function")
    if not _TARGET.fullmatch(written):
        path = re.sub(r"\.py$", "", written.strip()).replace("/", ".").strip(".")
        nearest = path if _TARGET.fullmatch(path) else f"{path}:main"
        rule = "a function is written package.module:function"
        raise Invalid(rule, nearest=nearest if _TARGET.fullmatch(nearest) else None)
    return written


def folder(value: object) -> PurePath:
    """A path."""
    return value if isinstance(value, PurePath) else Path(text(value, what="a path"))


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


def lines(value: object) -> object:
    """A list of texts; one alone is a list of it."""
    return (value,) if isinstance(value, str) else value


def arguments(value: object) -> object:
    """A command as a list of its words; the first is the program."""
    if isinstance(value, str):
        raise Invalid("command is a list of words; shell text goes under run")
    if isinstance(value, list | tuple):
        if not value:
            raise Invalid("a command is not empty", nearest="[python, train.py]")
        if isinstance(value[0], str) and not value[0].strip():
            raise Invalid("the first word of a command is a program", nearest="python", at=(0,))
    return value


def secrets(value: object) -> object:
    """Names of variables. Whoever writes a value here is told so, without showing it."""
    rule = "a job file holds names of secrets, never values: those come from your environment"
    if isinstance(value, Mapping):
        names = ", ".join(str(key) for key in value)
        raise Invalid(rule, nearest=f"[{names}]", shown="a mapping with values")
    listed = one_or_many(value)
    for index, entry in enumerate(listed if isinstance(listed, list | tuple) else ()):
        if isinstance(entry, Mapping) and entry:
            raise Invalid(rule, nearest=str(next(iter(entry))), at=(index,), shown="a value")
        if isinstance(entry, str) and "=" in entry:
            key = entry.partition("=")[0].strip()
            raise Invalid(rule, nearest=key or None, at=(index,), shown=f'"{key}=..."')
    return listed


def run_id(value: object) -> str:
    """The id of a run, or of a Slurm job."""
    written = text(value, what="the id of a run").strip()
    if not _RUN_ID.fullmatch(written):
        cleaned = re.sub(r"[^A-Za-z0-9._-]", "", written).lstrip("._-")
        raise Invalid("the id of a run has letters, digits, dot, dash", nearest=cleaned or None)
    return written


def sources(value: object) -> object:
    """Data sources: a path, a mapping of source and stage, or a list of these."""
    if value is None:
        return ()
    listed = value if isinstance(value, list | tuple) else (value,)
    return tuple({"source": one} if isinstance(one, str | PurePath) else one for one in listed)


def sweep(value: object) -> object:
    """Names with lists of values; one value alone is a list of it."""
    if value is None or not isinstance(value, Mapping):
        return {} if value is None else value
    read: dict[object, object] = {}
    for key, values in value.items():
        listed = values if isinstance(values, list | tuple) else (values,)
        if not listed:
            raise Invalid("a sweep has one value or more of each name", nearest="[1, 2]", at=(key,))
        read[key] = tuple(listed)
    seen: dict[str, object] = {}
    for key in read:
        other = seen.setdefault(str(key).upper(), key)
        if other != key:
            raise Conflict(
                f"{other} and {key} are one name",
                rule=f"both would be the variable HEADRACE_SWEEP_{str(key).upper()}",
                fix=f"rename {key}",
                at=(str(key),),
            )
    return read


def sbatch_options(value: object) -> object:
    """Raw options: long names with or without dashes in front; nothing or true is a bare option."""
    if not isinstance(value, Mapping):
        return value
    read: dict[str, str] = {}
    for key, given in value.items():
        known = str(key).strip().lstrip("-").replace("_", "-")
        if not _OPTION.fullmatch(known):
            raise Invalid(
                "an option of sbatch is named by its long name, such as mail-type", at=(key,)
            )
        if field := SBATCH_FIELDS.get(known):
            shown = given if isinstance(given, str | int) and str(given).strip() else "..."
            raise Conflict(
                f"{known} has a field of its own",
                rule="one setting stands in one place, so that plan, engine and Slurm agree",
                fix=f"{field}: {shown}",
                at=(key,),
            )
        bare = given is None or given is True or given == ""
        read[known] = "" if bare else text(given, what="an option")
    return read


def flag(value: object) -> bool:
    """true or false, as YAML 1.1 writes them."""
    written = str(value).lower() if isinstance(value, str | bool) else ""
    if written not in ("true", "yes", "on", "false", "no", "off"):
        raise Invalid("this is true or false", nearest="true")
    return written in ("true", "yes", "on")


def is_final(value: object) -> bool:
    """Whether this is one of the types of ``headrace.spec.job`` already."""
    return hasattr(type(value), "model_fields")
