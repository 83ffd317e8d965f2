"""The YAML of a job file, read as it is written: every value with its line, every scalar as text.

YAML 1.1 would turn ``1:30:00`` into 5400, ``010`` into 8 and the key ``on`` into true. Here a
scalar stays the text the author typed, and the type of its field says what that means; only an
unquoted ``null``, ``~`` or nothing is None. Tags, several documents and keys that stand twice are
refused. Aliases work, and are bounded, as are depth and size.
"""

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from headrace.spec.errors import JobFileBroken, JobFileUnusable
from headrace.spec.origin import Path, Spot, spelled

_DEPTH_MAX = 32
_NODES_MAX = 50_000
_UNPRINTABLE = re.compile(
    "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
)  # YAML 1.1, production c-printable
_KEY = re.compile(r"[\s-]*([\w.-]+):\s+")
_NULLS = ("", "~", "null", "Null", "NULL")
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
Tree = dict[str, Any]


@dataclass
class _Reader:
    """Builds the tree from YAML events; recursion is bounded by ``_DEPTH_MAX``."""

    file: str | None
    events: Any
    spots: dict[Path, Spot] = field(default_factory=dict)
    anchors: dict[str, Any] = field(default_factory=dict)
    nodes: int = 0

    def value(self, event: Any, path: Path) -> Any:  # noqa: ANN401
        """The value that starts with ``event``; its spot is kept under ``path``."""
        line = event.start_mark.line + 1
        self.spots.setdefault(path, Spot(self.file, line))
        if len(path) > _DEPTH_MAX:
            raise self._broken(
                line,
                "is nested too deeply",
                f"has at most {_DEPTH_MAX} levels",
                fix="use fewer levels",
            )
        if isinstance(event, yaml.AliasEvent):
            return self._aliased(str(event.anchor), line)
        self._count(1, line)
        if event.tag is not None:
            raise self._broken(
                line,
                f"the tag {event.tag.replace('tag:yaml.org,2002:', '!!')} is not read",
                "is made of plain text, lists and mappings",
                fix="leave the tag out",
            )
        if isinstance(event, yaml.ScalarEvent):
            found: Any = None if not event.style and event.value in _NULLS else event.value
        elif isinstance(event, yaml.SequenceStartEvent):
            found = self._list(path)
        else:
            found = self._mapping(path)
        if event.anchor is not None:
            self.anchors[event.anchor] = found
        return found

    def _list(self, path: Path) -> list[Any]:
        found: list[Any] = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            found.append(self.value(event, (*path, len(found))))
        return found

    def _mapping(self, path: Path) -> Tree:
        found: Tree = {}
        lines: dict[str, int] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            line = event.start_mark.line + 1
            key = self._key(event, line)
            if key in lines:
                raise self._broken(
                    line,
                    f"{key} stands twice, first on line {lines[key]}",
                    "has one value for each name",
                    fix=f"keep line {lines[key]} or line {line}",
                )
            lines[key] = line
            self.spots[*path, key] = self.spots[*path, spelled(key)] = Spot(self.file, line)
            found[key] = self.value(next(self.events), (*path, key))
        return found

    def _key(self, event: Any, line: int) -> str:  # noqa: ANN401
        if isinstance(event, yaml.ScalarEvent) and event.tag is None:
            key: str = event.value
            return key
        raise self._broken(
            line,
            "a key is not plain text",
            "is made of names and values",
            fix="write the name as plain text",
        )

    def _aliased(self, anchor: str, line: int) -> Any:  # noqa: ANN401
        if anchor not in self.anchors:
            raise self._broken(
                line,
                f"*{anchor} has no &{anchor} before it",
                "is read from the top",
                fix=f"put &{anchor} before *{anchor}",
            )
        self._count(_size(self.anchors[anchor], _NODES_MAX), line)
        return self.anchors[anchor]

    def _count(self, nodes: int, line: int) -> None:
        self.nodes += nodes
        if self.nodes > _NODES_MAX:
            raise self._broken(
                line,
                "grows too large",
                f"has at most {_NODES_MAX} values, aliases too",
                fix="write it without aliases",
            )

    def _broken(self, line: int, what: str, rule: str, *, fix: str) -> JobFileBroken:
        rule = f"a job file {rule}"
        return JobFileBroken(what, rule=rule, fix=fix, file=self.file, line=line)


def _size(value: Any, limit: int) -> int:  # noqa: ANN401
    """Values in ``value``, counted up to ``limit``."""
    waiting, size = [value], 0
    while waiting and size <= limit:
        size += 1
        one = waiting.pop()
        waiting.extend(
            one.values() if isinstance(one, dict) else one if isinstance(one, list) else ()
        )
    return size


def read_yaml(text: str, *, file: str | None) -> tuple[Tree, dict[Path, Spot]]:
    """The tree and the spots of its values. Raise ``JobFileBroken`` or ``JobFileUnusable``."""
    events = yaml.parse(text, Loader=_LOADER)
    try:
        return _read_document(_Reader(file, events), file)
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(error, text, file) from None
    except (yaml.YAMLError, UnicodeError, ValueError) as error:
        raise _character_error(error, text, file) from None


def _read_document(reader: _Reader, file: str | None) -> tuple[Tree, dict[Path, Spot]]:
    next(reader.events)  # start of the stream
    event = next(reader.events)
    if isinstance(event, yaml.StreamEndEvent):
        raise empty(file)
    found = reader.value(next(reader.events), ())
    next(reader.events)  # end of the document
    after = next(reader.events)
    if not isinstance(after, yaml.StreamEndEvent):
        raise JobFileBroken(
            "a second document starts",
            rule="a job file describes one run",
            fix="put what follows --- into a file of its own",
            file=file,
            line=after.start_mark.line + 1,
        )
    if found is None:
        raise empty(file)
    if not isinstance(found, dict):
        kind = "a list" if isinstance(found, list) else "text"
        raise JobFileBroken(
            f"the top is {kind}",
            rule="a job file is a mapping of fields to values",
            fix="run: python train.py",
            file=file,
            line=reader.spots[()].line,
        )
    del reader.spots[()]
    reader.spots[()] = Spot(file)
    return found, reader.spots


def _character_error(error: Exception, text: str, file: str | None) -> JobFileBroken:
    """A character that YAML does not have, on its line where it can be found."""
    found = _UNPRINTABLE.search(text)
    shown = f"the character U+{ord(found[0]):04X}" if found else str(error).splitlines()[0].strip()
    return JobFileBroken(
        f"{shown} cannot stand in YAML",
        rule="a job file is text without control characters",
        fix='remove it, or write it as an escape in double quotes, such as "\\x1b"',
        file=file,
        line=text.count("\n", 0, found.start()) + 1 if found else None,
    )


def empty(file: str | None) -> JobFileUnusable:
    """The error for a file that says nothing."""
    return JobFileUnusable(
        "is empty", rule="a run needs a command", fix="run: python train.py", file=file
    )


def _syntax_error(error: yaml.MarkedYAMLError, text: str, file: str | None) -> JobFileBroken:
    """YAML's own complaint, on the line where the trouble starts."""
    problem = str(error.problem or "")
    context = str(error.context or "")
    mark = error.problem_mark or error.context_mark
    opened = error.context_mark if "quoted" in context or "flow" in context else None
    line = (opened or mark).line + 1 if mark else None
    written = text.splitlines()[line - 1] if line and line <= len(text.splitlines()) else ""
    if "\t" in written[: len(written) - len(written.lstrip())] or "'\\t'" in problem:
        what, rule = "a tab indents this line", "YAML is indented with spaces"
        fix = "write spaces instead of the tab"
    elif "quoted" in context and "end of stream" in problem:
        what, rule = "a quote is not closed", "text that starts with a quote ends with one"
        fix = "close the quote that opens on this line"
    elif "flow" in context and ("expected ','" in problem or "end of stream" in problem):
        what, rule = "a bracket is not closed", "[ ends with ] and { with }"
        fix = "close the bracket that opens on this line"
    elif "mapping values" in problem and mark and (key := _KEY.match(written[: mark.column])):
        what, rule = "a second colon follows", "text with a colon and a space in it is quoted"
        fix = f"{key[1]}: {_quoted(written[key.end() :])}"
    elif "mapping values" in problem:
        what, rule = "this line is indented too far", "fields of one mapping start in one column"
        fix = f"indent it as the line before it, or end that line with a colon: {written.strip()}"
    else:
        what, rule = "this is not YAML", " ".join(f"{context} {problem}".split())
        fix = "write field: value, with nested fields indented by spaces"
    return JobFileBroken(what, rule=rule, fix=fix, file=file, line=line)


def _quoted(text: str) -> str:
    return "'" + text.strip().replace("'", "''") + "'"
