"""Errors of a job description. Each says where, what, which rule, and the nearest right value.

SpecError                 exit 2; carries file, line, field, value, rule, nearest, more
+-- JobFileUnusable       001  the file cannot be read as text
+-- JobFileBroken         002  the text is not the YAML we accept
+-- FieldInvalid          003  a value is not what its field takes
+-- FieldUnknown          004  there is no such field
+-- FieldsConflict        005  fields exclude or miss each other
+-- SbatchInvalid         006  a #SBATCH line cannot be understood
"""

from typing import Self

from headrace.core.errors import UsageError


class SpecError(UsageError):
    """``more`` counts further errors in the same description, reported one at a time by line."""

    def __init__(
        self,
        what: str,
        *,
        rule: str,
        fix: str,
        file: str | None = None,
        line: int | None = None,
        field: str | None = None,
        value: str | None = None,
        nearest: str | None = None,
    ) -> None:
        where = file or ""
        if line is not None:
            where = f"{where}:{line}" if where else f"line {line}"
        parts = [part for part in (where, field, what) if part]
        super().__init__(
            _on_one_line(": ".join(parts)), why=_on_one_line(rule), remedy=_on_one_line(fix)
        )
        self.file = file
        self.line = line
        self.field = field
        self.value = value
        self.rule = rule
        self.nearest = nearest
        self.more = 0

    def having_more(self, more: int) -> Self:
        """The same error, saying that ``more`` others follow it."""
        if more:
            self.more = more
            self.problem += f" ({more} more after this one)"
        return self


def _on_one_line(text: str) -> str:
    """Text of users in a message: what would move the cursor is written as an escape."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


class JobFileUnusable(SpecError):
    """The file is missing, a folder, not readable, not text, empty or too large."""

    code = "HR-SPEC-001"


class JobFileBroken(SpecError):
    """The text is not YAML, or uses a part of YAML that job files do not have."""

    code = "HR-SPEC-002"


class FieldInvalid(SpecError):
    """A value is not what its field takes."""

    code = "HR-SPEC-003"


class FieldUnknown(SpecError):
    """There is no field of this name."""

    code = "HR-SPEC-004"


class FieldsConflict(SpecError):
    """Fields exclude each other, or one that is needed is missing."""

    code = "HR-SPEC-005"


class SbatchInvalid(SpecError):
    """A ``#SBATCH`` line cannot be understood."""

    code = "HR-SPEC-006"
