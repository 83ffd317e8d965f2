"""Errors of training data.

HeadraceError
+-- DataNotFound        001  exit 3  no such data set
+-- NotADataset         002  exit 2  the file is in no format we read
+-- DamagedData         003  exit 1  bytes are not those that were written
+-- PackRefused         004  exit 2  what was asked cannot be packed
+-- PackFailed          005  exit 1  reading a source or writing the pack failed
+-- TokenizerUnusable   006  exit 2  the tokenizer cannot be loaded
+-- BatchesRefused      007  exit 2  these batches cannot be drawn from this data set
+-- StateMismatch       008  exit 4  a saved position belongs to other data
+-- NoSuchSample        009  exit 3  the data set has no sample of this number
+-- IndexRefused        010  exit 2  the path cannot be indexed as asked
+-- PackageMissing      011  exit 2  a format's library is not installed
+-- NotIndexed          012  exit 4  the data set has to be indexed first
+-- DataChanged         013  exit 4  a file has another size than when it was indexed
+-- TooMuchDamage       014  exit 1  more samples are damaged than were allowed to be left out
+-- NotStackable        015  exit 2  samples do not make a batch of arrays
+-- NoPlan              016  exit 3  the run has written down no plan of its data
+-- DataUnreachable     017  exit 5  the file system below does not answer
"""

import errno
from pathlib import Path

from headrace.core.errors import HeadraceError, NotFound, Refused, Unreachable, UsageError


class DataNotFound(NotFound):
    """There is no data set at this path."""

    code = "HR-DATA-001"

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path}: no such data set",
            why="the path does not exist on this machine",
            remedy="check the path; make a data set with: headrace data pack PATH --out FILE",
        )
        self.path = path


class NotADataset(UsageError):
    """The file is in no format that this version reads."""

    code = "HR-DATA-002"

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(
            f"{path}: not a data set",
            why=why,
            remedy="name its format: headrace data index PATH --format FORMAT; "
            "or pack text: headrace data pack PATH --out FILE --window N",
        )
        self.path = path


class DamagedData(HeadraceError):
    """Bytes of a data set are not those that were written. Nothing of them was returned.

    ``sample``: the number of the one that needs them, None where no one sample does.
    """

    code = "HR-DATA-003"

    def __init__(
        self, path: Path, why: str, *, start: int, stop: int, sample: int | None = None
    ) -> None:
        of = "" if sample is None else f" of sample {sample}"
        super().__init__(
            f"{path}: bytes {start} to {stop}{of} are damaged",
            why=why,
            remedy="copy the file again from its source, or make it again; "
            "headrace data verify PATH lists all damage of a data set",
        )
        self.path = path
        self.sample = sample
        self.start = start
        self.stop = stop


class PackRefused(UsageError):
    """What was asked cannot be packed."""

    code = "HR-DATA-004"


class PackFailed(HeadraceError):
    """A source could not be read to its end, or the pack could not be written."""

    code = "HR-DATA-005"

    def __init__(self, out: Path, error: OSError, *, source: Path | None = None) -> None:
        what = f"writing {out}" if source is None else f"reading {source}"
        super().__init__(
            f"{what} failed: {error.strerror or error}",
            why="a pack is whole or absent; nothing was left behind",
            remedy="free space or choose another folder, then pack again"
            if source is None
            else "mend the file or leave it out, then pack again",
        )
        self.out = out
        self.source = source


class TokenizerUnusable(UsageError):
    """The tokenizer cannot be loaded."""

    code = "HR-DATA-006"


class BatchesRefused(UsageError):
    """These batches cannot be drawn from this data set."""

    code = "HR-DATA-007"


class StateMismatch(Refused):
    """A saved position belongs to other data or another order."""

    code = "HR-DATA-008"

    def __init__(self, field: str, *, saved: object, given: object) -> None:
        super().__init__(
            f"the saved position has {field} {saved}, but here it is {given}",
            why="going on would train on other samples, in another order, than the run that saved",
            remedy=f"give the data set and seed of the saved run ({field} {saved}), "
            "or start without its position",
        )
        self.field = field
        self.saved = saved
        self.given = given


class NoSuchSample(NotFound):
    """The data set has no sample of this number."""

    code = "HR-DATA-009"

    def __init__(self, path: Path, sample: int, length: int) -> None:
        super().__init__(
            f"{path}: there is no sample {sample}",
            why=f"the data set (or the split of it) has {length} samples, counted from 0",
            remedy=f"give a number from 0 to {length - 1}" if length else "give a larger split",
        )
        self.path = path
        self.sample = sample


class IndexRefused(UsageError):
    """The path cannot be indexed as asked: an option is missing or does not fit the format."""

    code = "HR-DATA-010"


class PackageMissing(UsageError):
    """A format needs a library that is not installed here."""

    code = "HR-DATA-011"

    def __init__(self, package: str, needed_for: str, *, install: str = "headrace[data]") -> None:
        super().__init__(
            f"{needed_for} cannot be read without the package {package}",
            why=f"{package} is not installed in this Python",
            remedy=f"pip install '{install}'",
        )
        self.package = package


class NotIndexed(Refused):
    """The path holds samples, but nobody has said yet where each of them lies."""

    code = "HR-DATA-012"

    def __init__(self, path: Path, format: str) -> None:
        super().__init__(
            f"{path}: the data set has no index",
            why=f"it looks like {format}; an index says where each sample lies and how it hashes",
            remedy=f"headrace data index {path}",
        )
        self.path = path


class DataChanged(Refused):
    """A file is not as it was when it was indexed."""

    code = "HR-DATA-013"

    def __init__(self, path: Path, *, indexed_bytes: int, found_bytes: int) -> None:
        super().__init__(
            f"{path}: the file has {found_bytes} bytes, but had {indexed_bytes} when it was "
            "indexed",
            why="its samples may lie elsewhere now, or be gone",
            remedy="bring the old file back, or index the data set again: headrace data index PATH",
        )
        self.path = path


class TooMuchDamage(HeadraceError):
    """More samples are damaged than the setting allows to be left out."""

    code = "HR-DATA-014"

    def __init__(self, left_out: int, seen: int, *, most: float, last: str) -> None:
        super().__init__(
            f"{left_out} of {seen} samples read so far were damaged",
            why=f"at most {most:.3%} may be left out; the last was {last}",
            remedy="list the damage with: headrace data verify PATH; copy those files again, "
            "or allow more with damage_limit",
        )
        self.left_out = left_out
        self.seen = seen


class NotStackable(UsageError):
    """Samples do not make a batch of arrays by themselves."""

    code = "HR-DATA-015"

    def __init__(self, kind: str) -> None:
        super().__init__(
            f"samples of {kind} do not make a batch",
            why="a batch is made of numbers and arrays of equal shape, alone or in dicts and "
            "tuples",
            remedy="reading=data.Reading(transform=decode), with a function from a sample to "
            "arrays; or give collate",
        )


class NoPlan(NotFound):
    """A run has written down no plan of its data, or it cannot be read."""

    code = "HR-DATA-016"

    def __init__(self, run_dir: Path, error: Exception) -> None:
        absent = isinstance(error, FileNotFoundError)
        super().__init__(
            f"{run_dir}: there is no plan of the data to be read",
            why="data.json is not there: the run has drawn no batches from run.batches yet"
            if absent
            else f"data.json cannot be read: {error}",
            remedy="for a loop of your own give the data set with --global-batch and --seed",
        )


class DataUnreachable(Unreachable):
    """The file system does not answer: nothing is known of the bytes, which may be whole.

    ``is_stale``: it knows the open file no more (NFS, of one that was replaced); one that is opened
    anew may do.
    """

    code = "HR-DATA-017"

    def __init__(self, path: Path, error: OSError) -> None:
        super().__init__(
            f"{path}: its file system does not answer ({error.strerror})",
            why="the server or the network below it is gone; the data itself may be whole",
            remedy=f"see what is below: headrace storage {path.parent}; then start again",
        )
        self.path = path
        self.is_stale = error.errno == errno.ESTALE
