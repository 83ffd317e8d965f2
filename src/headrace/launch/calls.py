"""Calls of Python functions as files: what is to be called, and what came of it.

::

    <calls>/<first>.calls                a submission: its calls, numbered from <first>
    <calls>/again/<number>.calls         what a call left to be done when it was asked to stop
    <calls>/outcomes/<number>.<attempt>.<rank>-<ranks>

A file of calls is a line of JSON (``Contents``) and pickles; a function that many calls share is
there once. An outcome is a line of JSON (``Outcome``) and the pickle of the value or the exception:
what happened can be said in words also where the pickle cannot be read. Files are renamed into
place when they are whole. cloudpickle is used because it takes lambdas, closures and what is
defined in the script itself by value.
"""

import contextlib
import os
import pickle
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

import cloudpickle

from headrace.core.records import (
    Record,
    decode,
    encode,
    sync_folder,
    temporary_beside,
    write_file,
)

_PLAIN = (BaseExceptionGroup, SystemExit, KeyboardInterrupt, GeneratorExit)


@dataclass(frozen=True)
class Call:
    """``function(*args, **kwargs)``."""

    function: Callable[..., Any]
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)


class Contents(Record, frozen=True, kw_only=True):
    """``parts``: where each pickle begins, and the end of the last. ``calls``: of each, the parts
    that are its function and its arguments. ``import_path``: of the process that submitted."""

    python: tuple[int, int]
    import_path: tuple[str, ...]
    parts: tuple[int, ...]
    calls: tuple[tuple[int, int], ...]


class Outcome(Record, frozen=True, kw_only=True):
    """``kind``: value, error (the function raised), or lost (its value cannot be pickled).

    ``text``: the traceback. ``pickled``: whether a pickle follows.
    """

    kind: str
    text: str = ""
    summary: str = ""
    pickled: bool = False


class Unpicklable(Exception):
    """``what`` of the call numbered ``index`` in its submission cannot be pickled: ``why``."""

    def __init__(self, index: int, what: str, why: str) -> None:
        super().__init__(f"{what} of call {index}: {why}")
        self.index = index
        self.what = what
        self.why = why


# --- calls -------------------------------------------------------------------------------------


def write_calls(path: Path, calls: Sequence[Call]) -> None:
    """Raise ``Unpicklable``."""
    parts: list[bytes] = []
    functions: dict[int, int] = {}
    pairs = []
    for index, call in enumerate(calls):
        if id(call.function) not in functions:
            functions[id(call.function)] = len(parts)
            parts.append(_dumps(call.function, index, "the function"))
        pairs.append((functions[id(call.function)], len(parts)))
        parts.append(_dump_arguments(call, index))
    begins = [0]
    for part in parts:
        begins.append(begins[-1] + len(part))
    contents = Contents(
        python=sys.version_info[:2],
        import_path=tuple(os.path.abspath(entry) for entry in sys.path),
        parts=tuple(begins),
        calls=tuple(pairs),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, b"".join((encode(contents), b"\n", *parts)), mode=0o600)


def _dump_arguments(call: Call, index: int) -> bytes:
    try:
        return cloudpickle.dumps((call.args, dict(call.kwargs)))  # type: ignore[no-any-return]
    except Exception:
        for number, value in enumerate(call.args, 1):
            _dumps(value, index, f"argument {number}")
        for name, value in call.kwargs.items():
            _dumps(value, index, f"argument {name}")
        raise


def _dumps(value: object, index: int, what: str) -> bytes:
    try:
        data: bytes = cloudpickle.dumps(value)
    except Exception as error:  # __reduce__ and __getstate__ are anybody's code
        raise Unpicklable(index, what, f"{type(error).__name__}: {error}") from error
    return data


def read_contents(path: Path) -> Contents:
    with path.open("rb") as file:
        return decode(file.readline(), Contents)


def read_call(path: Path, index: int) -> Call:
    """The call of that place in the file. What unpickling raises is not caught."""
    with path.open("rb") as file:
        contents = decode(file.readline(), Contents)
        begin = file.tell()
        function, arguments = (
            _load(file, begin, contents.parts[part], contents.parts[part + 1])
            for part in contents.calls[index]
        )
    args, kwargs = cast(tuple[Any, Any], arguments)
    return Call(cast(Callable[..., Any], function), args, kwargs)


def _load(file: IO[bytes], base: int, begin: int, end: int) -> object:
    file.seek(base + begin)
    return pickle.loads(file.read(end - begin))


# --- outcomes ----------------------------------------------------------------------------------


def make_folders(calls: Path) -> None:
    """Only their user may write there: who writes a pickle runs code."""
    for folder in (calls, outcomes_folder(calls), again_file(calls, 0).parent):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def refresh(folder: Path) -> None:
    """Have an NFS client forget what it knows of a folder of ours, as any change of it does."""
    with contextlib.suppress(OSError):
        os.chmod(folder, 0o700)


def outcomes_folder(calls: Path) -> Path:
    return calls / "outcomes"


def again_file(calls: Path, number: int) -> Path:
    return calls / "again" / f"{number}.calls"


@dataclass(frozen=True)
class Name:
    """Of an outcome's file."""

    number: int
    attempt: int
    rank: int
    ranks: int

    def __str__(self) -> str:
        return f"{self.number}.{self.attempt}.{self.rank}-{self.ranks}"


def parse_name(text: str) -> Name | None:
    """None for any other file in the folder."""
    with contextlib.suppress(ValueError):
        number, attempt, place = text.split(".")
        rank, ranks = place.split("-")
        return Name(int(number), int(attempt), int(rank), int(ranks))
    return None


def write_value(path: Path, value: object) -> bool:
    """Whether it could be pickled; what is written says so if not. It is never in memory twice."""

    def fill(file: IO[bytes]) -> bool:
        try:
            file.write(encode(Outcome(kind="value", pickled=True)) + b"\n")
            cloudpickle.dump(value, file)
        except OSError:  # the disk is full, say: that is no matter of the value
            raise
        except Exception as error:
            file.seek(0)
            file.truncate()
            why = f"{type(value).__name__} cannot be pickled: {type(error).__name__}: {error}"
            lost = Outcome(kind="lost", summary=why, text=traceback.format_exc())
            file.write(encode(lost) + b"\n")
            return False
        return True

    return _write(path, fill)


def write_error(path: Path, error: BaseException, text: str) -> None:
    """``text``: its traceback. An exception that would not come back whole is left out."""
    data = b"" if isinstance(error, _PLAIN) else _pickled(error)
    summary = "".join(traceback.format_exception_only(error)).strip().splitlines()[-1]
    outcome = Outcome(kind="error", text=text, summary=summary, pickled=bool(data))
    _write(path, lambda file: bool(file.write(encode(outcome) + b"\n" + data)))


def _pickled(error: BaseException) -> bytes:
    """Empty where pickling fails, or unpickling does, as with an ``__init__`` of its own words."""
    try:
        data: bytes = cloudpickle.dumps(error)
        return data if isinstance(pickle.loads(data), BaseException) else b""
    except Exception:
        return b""


def _write(path: Path, fill: Callable[[IO[bytes]], bool]) -> bool:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(path)
    try:
        with open(temporary, "wb", opener=_private) as file:
            done = fill(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    with contextlib.suppress(FileNotFoundError):  # who waited for it may have taken all away
        sync_folder(path.parent)
    return done


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def read_outcome(path: Path) -> tuple[Outcome, Callable[[], object]]:
    """The outcome, and what unpickles what came with it."""
    with path.open("rb") as file:
        outcome = decode(file.readline(), Outcome)
        begin = file.tell()

    def load() -> object:
        with path.open("rb") as again:
            again.seek(begin)
            return pickle.load(again)

    return outcome, load
