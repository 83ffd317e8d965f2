"""One thing that is wrong or worth knowing, with what shows it and what to do."""

from enum import StrEnum

from headrace.core.records import Record


class Severity(StrEnum):
    """ERROR: runs will fail or go wrong. WARNING: slow or at risk. INFO: good to know."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


class Finding(Record, frozen=True, kw_only=True):
    """``code`` has a line in docs/reference/doctor.md. All texts are one sentence."""

    code: str
    severity: Severity
    what: str
    evidence: str
    remedy: str
