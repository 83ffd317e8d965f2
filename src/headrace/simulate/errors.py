"""Errors of traces and of the files that come with them.

HeadraceError
+-- TraceUnusable     HR-SIM-002  exit 2  the file cannot be read as text at all
+-- FormatUnknown     HR-SIM-003  exit 2  nobody can say which format this is
+-- RowInvalid        HR-SIM-004  exit 2  a line or value breaks a rule, and cannot be left out
+-- ClusterInvalid    HR-SIM-005  exit 2  the short form of a cluster is not one
"""

from collections.abc import Collection

from headrace.core.errors import UsageError

_SHOWN = 60


def shown(value: object) -> str:
    """A value from a file, in a message: short, on one line, in quotes."""
    text = str(value)
    text = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    return '"' + "".join(c if c.isprintable() else repr(c)[1:-1] for c in text) + '"'


class TraceUnusable(UsageError):
    """The file is missing, a folder, empty, damaged, or not text."""

    code = "HR-SIM-002"

    def __init__(self, file: str, what: str, *, why: str, remedy: str) -> None:
        super().__init__(f"{file}: {what}", why=why, remedy=remedy)
        self.file = file


class FormatUnknown(UsageError):
    """The format was not given, or is not one we read, and the content does not tell."""

    code = "HR-SIM-003"

    def __init__(self, file: str, what: str, formats: Collection[str]) -> None:
        super().__init__(
            f"{file}: {what}",
            why=f"the formats that can be read are {', '.join(formats)}",
            remedy="name the format, as in --format swf, or write the CSV of "
            "docs/reference/trace-csv.md",
        )
        self.file = file


class RowInvalid(UsageError):
    """What stands in a file breaks a rule, and nothing sensible is left without it."""

    code = "HR-SIM-004"

    def __init__(
        self,
        file: str,
        *,
        line: int | None,
        field: str,
        value: object,
        rule: str,
        remedy: str = "mend the line, or leave it out",
        others: int = 0,
    ) -> None:
        where = file if line is None else f"{file}:{line}"
        more = f" ({others} more like it)" if others else ""
        super().__init__(f"{where}: {field}: {shown(value)}{more}", why=rule, remedy=remedy)
        self.file = file
        self.line = line
        self.field = field
        self.value = value
        self.rule = rule


class ClusterInvalid(UsageError):
    """The short form of a cluster cannot be understood."""

    code = "HR-SIM-005"

    def __init__(self, text: str, rule: str, *, nearest: str = "321x8gpu") -> None:
        super().__init__(
            f"cluster {shown(text)} cannot be understood", why=rule, remedy=f"--cluster {nearest}"
        )
        self.text = text
        self.nearest = nearest
