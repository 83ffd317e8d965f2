"""A batch script as a job description: its ``#SBATCH`` lines, read as sbatch(1) reads them.

Lines count up to the first command. What a field of ``JobSpec`` stands for becomes that field; the
rest is kept as it is in ``slurm.sbatch``. Totals (--ntasks, --gpus, --mem-per-cpu) become amounts a
node where they divide. What was ignored or could not be divided is said in a note.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from headrace.spec.errors import JobFileUnusable, SbatchInvalid
from headrace.spec.forms import closest, slug
from headrace.spec.origin import Path as FieldPath
from headrace.spec.origin import Spot
from headrace.spec.sbatch_amounts import AMOUNTS, Options, divide
from headrace.spec.sbatch_options import OPTIONS, SHORT

_MAGIC = "#SBATCH"
_NEARLY_MAGIC = re.compile(r"#\s+SBATCH\s+-|#sbatch\s+-", re.IGNORECASE)
_MISSPELT = 0.8
_PLAIN_FIELDS = {
    "time": "time",
    "account": "account",
    "partition": "partition",
    "qos": "qos",
    "reservation": "reservation",
    "constraint": "constraint",
    "priority": "priority",
    "array": "array",
    "chdir": "workdir",
    "cpus-per-task": "cpus_per_rank",
    "container-image": "image",
}
_EXAMPLES = {
    "time": "4:00:00",
    "gres": "gpu:h100:8",
    "dependency": "afterok:1234",
    "mem-per-cpu": "4G",
    "mem-per-gpu": "64G",
}
"""What to write where the nearest right value of the field is not how sbatch writes it."""
_DEPENDENCIES = {"afterok": "ok", "afterany": "any", "afternotok": "notok"}
_SLURM_ONLY = ("after", "afterburstbuffer", "aftercorr", "expand")


@dataclass
class Script:
    """What a script says: fields in written form, where each stands, and notes for people."""

    written: dict[str, Any] = field(default_factory=dict)
    spots: dict[FieldPath, Spot] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def is_script(text: str, name: str) -> bool:
    """Whether this is a batch script and not YAML."""
    if text.startswith("#!"):
        return True
    if PurePath(name).suffix in (".yaml", ".yml"):
        return False
    return any(line.startswith(_MAGIC) for line in text.splitlines())


def interpreter_of(first_line: str) -> tuple[str, ...]:
    """What runs the script: its ``#!`` line, with at most one argument as in execve(2)."""
    words = first_line.removeprefix("#!").strip().split(maxsplit=1)
    return tuple(words) if first_line.startswith("#!") and words else ("/bin/bash",)


def read_sbatch(text: str, *, path: Path, file: str) -> Script:
    """Read a script's ``#SBATCH`` lines. Raise ``SbatchInvalid`` or ``JobFileUnusable``."""
    lines = text.split("\n")
    if lines[0].endswith("\r"):
        raise JobFileUnusable(
            "has DOS line ends",
            rule="sbatch refuses them, and a shell reads the \\r as part of each command",
            fix=f"sed -i 's/\\r$//' {file}",
            file=file,
        )
    options, notes = _options(lines, file)
    script = Script({"script": str(path), "interpreter": list(interpreter_of(lines[0]))})
    script.spots[()] = Spot(file)
    fields = _Fields(script, file, notes)
    for name, (value, line) in options.items():
        fields.take(name, value, line)
    divide(options, fields)
    if fields.raw:
        script.written["slurm"] = {"sbatch": fields.raw}
    script.notes = tuple(f"{file}:{line}: {text}" for line, text in sorted(notes))
    return script


def _options(lines: list[str], file: str) -> tuple[Options, list[tuple[int, str]]]:
    """All options by long name; the last one counts, as for sbatch."""
    options: Options = {}
    notes: list[tuple[int, str]] = []
    commands_began = False
    for number, line in enumerate(lines, start=1):
        if commands_began:
            if line.startswith(_MAGIC):
                notes.append((number, "after the first command, so sbatch ignores it"))
        elif line.startswith(_MAGIC):
            for name, value in _read_line(line[len(_MAGIC) :], file, number):
                options.pop(name, None)
                options[name] = (value, number)
        elif _NEARLY_MAGIC.match(line):
            notes.append((number, "a comment: sbatch reads only lines that start #SBATCH"))
        else:
            commands_began = bool(line.strip()) and not line.lstrip().startswith("#")
    return options, notes


def _read_line(text: str, file: str, line: int) -> Iterator[tuple[str, str]]:
    """(long name, value) of each option of one line; "" for an option without value."""
    try:
        words = shlex.split(text)
    except ValueError:
        raise SbatchInvalid(
            "a quote is not closed",
            rule="text that starts with a quote ends with one",
            fix="close the quote",
            file=file,
            line=line,
        ) from None
    comment = next((i for i, word in enumerate(words) if word.startswith("#")), len(words))
    words = words[:comment]
    while words:
        word = words.pop(0)
        if word.startswith("--") and len(word) > 2:
            name, equals, value = word[2:].partition("=")
            name = _long_name(name, bool(equals), file, line)
        elif word.startswith("-") and len(word) > 1 and word[1] in SHORT:
            name, value = SHORT[word[1]], word[2:]
            equals = value
        else:
            raise _invalid(word, "is not an option", file, line)
        takes = OPTIONS.get(name)
        if not equals and words and not words[0].startswith("-") and takes in ("value", None):
            value = words.pop(0)
        if takes == "value" and not value:
            raise _invalid(f"--{name}", "has no value", file, line, f"#SBATCH --{name}=...")
        if takes == "nothing" and equals:
            raise _invalid(f"--{name}", "takes no value", file, line, f"#SBATCH --{name}")
        yield name, value


def _long_name(name: str, has_value: bool, file: str, line: int) -> str:
    """A known option, also by an unambiguous beginning; an unknown one if it is like no other."""
    if name in OPTIONS:
        return name
    begun = [known for known in OPTIONS if known.startswith(name)]
    if len(begun) == 1:
        return begun[0]
    nearest = closest(name, OPTIONS, at_least=_MISSPELT)
    if begun or nearest:
        shown = nearest or begun[0]
        ending = "=..." if has_value else ""
        what = "may mean several options" if begun else "is not an option of sbatch"
        raise _invalid(f"--{name}", what, file, line, f"#SBATCH --{shown}{ending}")
    return name


def _invalid(
    word: str, what: str, file: str, line: int, fix: str = "#SBATCH --nodes=2"
) -> SbatchInvalid:
    return SbatchInvalid(
        what,
        rule="options are those of sbatch(1), by their long or short names",
        fix=fix,
        file=file,
        line=line,
        field=word,
        value=word,
        nearest=fix,
    )


@dataclass
class _Fields:
    """Takes options one by one into fields; ``raw`` keeps what no field stands for."""

    script: Script
    file: str
    notes: list[tuple[int, str]]
    raw: dict[str, str] = field(default_factory=dict)

    def put(self, path: tuple[str, ...], value: object, option: str, line: int) -> None:
        """Set a field that ``option`` speaks of."""
        spot = Spot(self.file, line, f"--{option}", _EXAMPLES.get(option))
        self.script.spots[path] = spot
        inside = self.script.written
        for step in path[:-1]:
            inside = inside.setdefault(step, {})
        inside[path[-1]] = value

    def note(self, text: str, line: int) -> None:
        self.notes.append((line, text))

    def keep(self, option: str, value: str, line: int) -> None:
        self.raw[option] = value
        self.script.spots["slurm", "sbatch", option] = Spot(self.file, line, f"--{option}")

    def take(self, name: str, value: str, line: int) -> None:
        """One option; those about amounts are left to ``sbatch_amounts``."""
        if target := _PLAIN_FIELDS.get(name):
            self.put((target,), value, name, line)
        elif name == "job-name":
            self._job_name(value, line)
        elif name in ("requeue", "no-requeue"):
            self._requeue(name, line)
        elif name == "dependency":
            self._dependency(value, line)
        elif name == "signal":
            self._signal(value, line)
        elif name not in AMOUNTS:
            self.keep(name, value, line)

    def _job_name(self, value: str, line: int) -> None:
        self.put(("name",), slug(value), "job-name", line)
        if slug(value) != value:
            self.note(f"{value} is named {slug(value)} here", line)

    def _requeue(self, name: str, line: int) -> None:
        """Slurm requeues after preemption and node failure, never because a program failed."""
        if name == "requeue":
            self.put(("restart", "on"), ["preempt", "node"], name, line)
        else:
            self.put(("restart", "max"), "0", name, line)

    def _dependency(self, value: str, line: int) -> None:
        """afterok:1:2, afterany:3, afternotok:4, singleton, joined by commas; else kept raw."""
        parts = value.split(",")
        kinds = [part.partition(":")[0] for part in parts]
        if any(kind not in _DEPENDENCIES and kind != "singleton" for kind in kinds):
            near = closest(kinds[0], _DEPENDENCIES, at_least=_MISSPELT)
            if near and kinds[0] not in _SLURM_ONLY:
                fix = f"#SBATCH --dependency={near}:{value.partition(':')[2]}"
                raise _invalid(
                    "--dependency", f'"{kinds[0]}" is no dependency', self.file, line, fix
                )
            self.keep("dependency", value, line)
            self.note("only Slurm understands this dependency", line)
            return
        for part in parts:
            kind, _, ids = part.partition(":")
            if kind == "singleton":
                self.put(("after", "singleton"), "true", "dependency", line)
                continue
            path = ("after", _DEPENDENCIES[kind])
            before = self.script.written.get("after", {}).get(path[1], [])
            self.put(path, [*before, *ids.split(":")], "dependency", line)

    def _signal(self, value: str, line: int) -> None:
        """[R|B:]SIGNAL[@SECONDS]: the seconds are the grace; sbatch's default is 60."""
        found = re.fullmatch(r"(?:[RB]+:)?([A-Za-z0-9]+)(?:@(\d{1,5}))?", value)
        if found is None:
            fix = "#SBATCH --signal=USR1@300"
            raise _invalid("--signal", f'"{value}" is not SIGNAL@SECONDS', self.file, line, fix)
        seconds = int(found[2] or 60)
        if seconds:
            self.put(("checkpoint", "grace"), f"{seconds}s", "signal", line)
