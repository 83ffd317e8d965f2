"""Reading a job description: a file, flags, a batch script or Python, into one ``JobSpec``.

The only part of this room that touches the disk: it reads the job file and looks whether the
working folder and the script are there. Flags override the file; ``-`` and ``_`` are the same in
names. Relative paths are relative to ``cwd``, as with sbatch, not to the job file.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from headrace.spec.errors import FieldInvalid, FieldsConflict, JobFileUnusable, SpecError
from headrace.spec.job import PROGRAMS, JobSpec
from headrace.spec.origin import WRITTEN, Origin, Spot, assignment, flag_of, spelled
from headrace.spec.origin import Path as FieldPath
from headrace.spec.sbatch import interpreter_of, is_script, read_sbatch
from headrace.spec.tree import empty, read_yaml

_SIZE_MAX_BYTES = 1 << 20
_EXCLUSIVE = (PROGRAMS, ("sweep", "array"))
_MERGED = ("env",)
_NOTHING: Mapping[str, object] = {}


def load_file(path: Path, *, overrides: Mapping[str, object] = _NOTHING, cwd: Path) -> JobSpec:
    """The job of a YAML file or a batch script, with ``overrides`` (flags) on top.

    A name with dots in ``overrides`` reaches inside: ``checkpoint.every``. None overrides nothing.
    Raise ``SpecError``, also when the working folder or the script is not there.
    """
    text = _read(cwd / path, shown=str(path))
    if is_script(text, str(path)):
        script = read_sbatch(text, path=cwd / path, file=str(path))
        return _finish(script.written, script.spots, overrides, cwd, notes=script.notes)
    return load_text(text, file=str(path), overrides=overrides, cwd=cwd)


def load_text(
    text: str, *, file: str | None = None, overrides: Mapping[str, object] = _NOTHING, cwd: Path
) -> JobSpec:
    """The job of YAML text; ``file`` is what errors call it. Raise ``SpecError``."""
    written, spots = read_yaml(text, file=file)
    return _finish(written, spots, overrides, cwd)


def from_flags(
    command: Sequence[str], *, overrides: Mapping[str, object] = _NOTHING, cwd: Path
) -> JobSpec:
    """The job of a command line: ``command`` is what follows ``--``. Raise ``SpecError``."""
    named = [name for name in PROGRAMS if overrides.get(name) is not None]
    if not command and not named:
        raise FieldsConflict(
            "there is no command",
            rule="what to run follows --",
            fix="headrace run -- python train.py",
        )
    written = {"command": tuple(command)} if command else {}
    if command and named:
        raise FieldsConflict(
            f"--{named[0]} and a command after -- both say what to run",
            rule="a run has exactly one of run, python, command, script",
            fix=f"leave --{named[0]} out, or end the line before --",
        )
    return _finish(written, {("command",): Spot(flag="--")}, overrides, cwd)


def make(*, cwd: Path = Path("."), **fields: object) -> JobSpec:
    """The job of Python values, under the names and in the forms of a job file (time="4h").

    Raise ``SpecError``.
    """
    return JobSpec.model_validate({"workdir": cwd, **fields})


def _finish(
    written: Mapping[str, Any],
    spots: Mapping[FieldPath, Spot],
    overrides: Mapping[str, object],
    cwd: Path,
    notes: tuple[str, ...] = (),
) -> JobSpec:
    tree, places = _overridden(written, spots, overrides)
    folder = tree.get("workdir")
    tree["workdir"] = _absolute(folder, cwd) if isinstance(folder, str | Path) else folder or cwd
    if isinstance(tree.get("script"), str | Path):
        tree["script"] = _absolute(tree["script"], cwd)
    if notes:
        tree["notes"] = notes
    origin = Origin({**tree, "workdir": folder}, places)
    spec = JobSpec.model_validate(tree, context=origin)
    if not spec.workdir.is_dir():
        rule = "the folder of a run exists when it is submitted"
        raise _absent("workdir", spec.workdir, rule, str(_nearest_folder(spec.workdir)), origin)
    if spec.script is None or "interpreter" in spec.model_fields_set:
        return spec
    if not spec.script.is_file():
        raise _absent(
            "script", spec.script, "a script is there when it is submitted", "job.sbatch", origin
        )
    first_line = _read(spec.script, shown=str(spec.script)).partition("\n")[0]
    return spec.model_copy(update={"interpreter": interpreter_of(first_line)})


def script_of(spec: JobSpec) -> str | None:
    """The text of the batch script as it is now; None without one. Raise ``SpecError``."""
    return None if spec.script is None else _read(spec.script, shown=str(spec.script))


def read_submitted(text: str) -> JobSpec:
    """A ``job.yaml`` that ``to_yaml`` wrote. Its folder may be gone by now. Raise ``SpecError``."""
    written, spots = read_yaml(text, file="job.yaml")
    return JobSpec.model_validate(written, context=Origin(written, spots))


def _absolute(path: str | Path, cwd: Path) -> str | Path:
    """``path`` seen from ``cwd``; what is not a usable path stays, for its field to refuse."""
    if isinstance(path, str) and (not path.strip() or "\0" in path):
        return path
    home = str(path).startswith("~/")
    joined = cwd.absolute() / (Path(path).expanduser() if home else path)
    return Path(*[part for part in joined.parts if part != "."])


def _nearest_folder(path: Path) -> Path:
    return next((parent for parent in path.parents if parent.is_dir()), Path("/"))


def _absent(field: str, path: Path, rule: str, nearest: str, origin: Origin) -> SpecError:
    spot = origin.spot((field,))
    return FieldInvalid(
        f'"{path}" is not there',
        rule=rule,
        fix=assignment(spot, (field,), nearest),
        file=spot.file,
        line=spot.line,
        field=spot.flag or field,
        value=str(path),
        nearest=nearest,
    )


def _overridden(
    written: Mapping[str, Any], spots: Mapping[FieldPath, Spot], overrides: Mapping[str, object]
) -> tuple[dict[str, Any], dict[FieldPath, Spot]]:
    """``written`` with flags on top. A flag that says what to run replaces what the file said."""
    tree, places = dict(written), dict(spots)
    flags = {_path(key): value for key, value in overrides.items() if value is not None}
    given = {path[0] for path in flags}
    for group in _EXCLUSIVE:
        if given.intersection(group):
            for key in [key for key in tree if spelled(key) in group]:
                del tree[key]
    for path, value in flags.items():
        _put(tree, path, value)
        flag = flag_of(path)
        replaced = [place for place in places if place[: len(path)] == path]
        if path[0] not in _MERGED:
            for place in replaced:
                del places[place]
            places[path] = Spot(flag=flag)
        elif isinstance(value, Mapping):
            places.update({(*path, str(key)): Spot(flag=flag) for key in value})
    return tree, places


def _path(key: str) -> tuple[str, ...]:
    path = tuple(spelled(part) for part in key.split("."))
    return (WRITTEN.get(path[0], path[0]), *path[1:])


def _put(tree: dict[str, Any], path: tuple[str, ...], value: object) -> None:
    """Set ``tree[a][b]`` for the path (a, b), replacing other spellings; ``env`` is merged."""
    key = path[0]
    older = [known for known in tree if WRITTEN.get(spelled(known), spelled(known)) == key]
    before = tree[older[0]] if older else None
    for known in older:
        del tree[known]
    if len(path) > 1:
        inner = dict(before) if isinstance(before, Mapping) else {}
        _put(inner, path[1:], value)
        tree[key] = inner
    elif key in _MERGED and isinstance(before, Mapping) and isinstance(value, Mapping):
        tree[key] = {**before, **value}
    else:
        tree[key] = value


def _read(path: Path, *, shown: str) -> str:
    """The text of a job file. Raise ``JobFileUnusable``."""
    if "\0" in shown:
        raise _unusable("<file>", "has a NUL in its name", "a path has no NUL", "job.yaml")
    try:
        with open(path, "rb") as file:
            data = file.read(_SIZE_MAX_BYTES + 1)
    except FileNotFoundError:
        fix = "check the path, or run without a file: headrace run -- python train.py"
        raise _unusable(
            shown, "is not there", "the job file is read before anything", fix
        ) from None
    except IsADirectoryError:
        fix = f"{shown.rstrip('/')}/job.yaml"
        raise _unusable(shown, "is a folder", "a job file is a file", fix) from None
    except PermissionError:
        fix = f"chmod u+r {shown}"
        raise _unusable(shown, "may not be read", "your user has no permission", fix) from None
    except OSError as error:
        fix = "check the path"
        raise _unusable(shown, "cannot be read", str(error.strerror), fix) from None
    if len(data) > _SIZE_MAX_BYTES:
        rule = "a job file is at most 1 MiB"
        raise _unusable(shown, "is too large", rule, "name the job file, not the data it uses")
    if b"\0" in data:
        rule = "a job file is text, and text has no NUL"
        raise _unusable(shown, "is not text", rule, "name a YAML file or a batch script")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        rule = f"byte {error.start} (line {line}) is not UTF-8"
        raise _unusable(shown, "is not text", rule, f"save {shown} as UTF-8") from None
    if not text.strip():
        raise empty(shown)
    return text


def _unusable(file: str, what: str, rule: str, fix: str) -> JobFileUnusable:
    return JobFileUnusable(what, rule=rule, fix=fix, file=file)
