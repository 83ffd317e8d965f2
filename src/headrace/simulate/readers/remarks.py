"""What a reader had to assume, repair or leave out: counted while reading, said at the end."""

from collections import Counter
from collections.abc import Iterable

from headrace.core.records import replace
from headrace.schedule.cluster import Cluster
from headrace.simulate.errors import RowInvalid, shown
from headrace.simulate.trace import Trace, TraceJob

MOST = 10**12  # no time in seconds and no count in a trace is larger
_SENSIBLE = 0.5  # a file of which a larger share is damaged is not what it was taken for


class BadField(Exception):
    """One value of one line breaks a rule."""

    def __init__(self, field: str, value: object, rule: str) -> None:
        super().__init__(field)
        self.field = field
        self.value = value
        self.rule = rule


class Remarks:
    """Collects what happened to the lines of one file, called ``name`` in messages."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._first: tuple[int | None, BadField] | None = None
        self._damaged = 0
        self._jobs: Counter[str] = Counter()
        self._said: list[str] = []

    def damaged(self, line: int | None, bad: BadField) -> None:
        """This line cannot be read and is left out."""
        self._damaged += 1
        if self._first is None:
            self._first = (line, bad)

    def job(self, what: str) -> None:
        """Something is so for one more job: "12 jobs " and then ``what``, in the past tense."""
        self._jobs[what] += 1

    def say(self, text: str) -> None:
        """A remark that holds for the whole file."""
        if text not in self._said:
            self._said.append(text)

    def close(self, good: int) -> tuple[str, ...]:
        """All remarks. Raise ``RowInvalid`` where too little could be read to go on."""
        if good == 0 or self._damaged > _SENSIBLE * (good + self._damaged):
            raise self._refusal()
        notes = list(self._said)
        notes += [f"{jobs_of(count)} {what}" for what, count in self._jobs.items()]
        if self._first is not None:
            line, bad = self._first
            where = "" if line is None else f"line {line}: "
            notes.append(
                f"{self._damaged:,} of {good + self._damaged:,} lines could not be read and were "
                f"left out; the first: {where}{bad.field}: {shown(bad.value)}: {bad.rule}"
            )
        return tuple(notes)

    def _refusal(self) -> RowInvalid:
        if self._first is None:
            left_out = "; ".join(f"{count} {what}" for what, count in self._jobs.items())
            return RowInvalid(
                self.name,
                line=None,
                field="jobs",
                value="none",
                rule=left_out or "the file has no job in it",
                remedy="check that this is the right file, and that it was written to its end",
            )
        line, bad = self._first
        return RowInvalid(
            self.name,
            line=line,
            field=bad.field,
            value=bad.value,
            rule=bad.rule,
            remedy="check the file's format; name it with --format if it was taken for another",
            others=self._damaged - 1,
        )


def jobs_of(count: int) -> str:
    """ "1 job", "1,234 jobs"."""
    return f"{count:,} job{'' if count == 1 else 's'}"


def integer(field: str, text: object, *, least: int = 0) -> int:
    """A whole number; "12.0" is one."""
    value = number(field, text, least=least)
    if value != int(value):
        raise BadField(field, text, "it is a whole number")
    return int(value)


def number(field: str, text: object, *, least: float = 0.0) -> float:
    """A finite number in the range that traces have."""
    try:
        value = float(text)  # type: ignore[arg-type]  # a TypeError is an answer too
    except (TypeError, ValueError, OverflowError):
        raise BadField(field, text, "it is a number") from None
    if least <= value <= MOST:
        return value
    raise BadField(field, text, f"it is a number from {least:g} to {MOST:g}")


def finish(jobs: Iterable[TraceJob], remarks: Remarks, *, cluster: Cluster | None = None) -> Trace:
    """The trace: in order of submission, each id once. Raise ``RowInvalid`` if nothing is left."""
    ordered = sorted(jobs, key=lambda one: one.job.submitted_s)
    seen: set[str] = set()
    for position, one in enumerate(ordered):
        name, again = one.job.id, 1
        while name in seen:
            again += 1
            name = f"{one.job.id}#{again}"
        if again > 1:
            remarks.job("had an id that another has; a number was added to it")
            ordered[position] = replace(one, job=replace(one.job, id=name))
        seen.add(name)
    notes = remarks.close(len(ordered))
    return Trace(name=remarks.name, jobs=tuple(ordered), cluster=cluster, notes=notes)
