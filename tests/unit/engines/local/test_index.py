"""Finding runs without reading their files."""

from pathlib import Path

from headrace.engines.contract import Caller
from headrace.engines.local.elements import elements_of
from headrace.engines.local.history import History
from headrace.engines.local.index import Index, Indexed
from headrace.engines.local.rows import row_of
from headrace.engines.local.site import Site
from headrace.schedule.request import Request
from headrace.spec import make


def indexed(name: str, number: int, **fields: object) -> list[Indexed]:
    elements = elements_of(
        make(cwd=Path("/work"), name=name, run="true", **fields),
        number=number,
        request=Request(),
        after=(),
        host="box",
        who=Caller(uid=1000, name="ada"),
        runs=Path("/runs"),
        site=Site(),
        token=f"t{number}",
        now_s=1.5,
    )
    history = History(submitted_s=1.5)
    return [
        Indexed(
            submission=one.submission,
            row=row_of(one.submission, history, reason="", run_dir=Path("/runs")),
        )
        for one in elements
    ]


def test_the_latest_runs_of_a_name_are_found_and_not_those_of_a_longer_one(tmp_path: Path) -> None:
    index = Index(tmp_path / "index.sqlite")
    index.put(indexed("a", 1) + indexed("a", 2, array="0-1") + indexed("a", 3))
    index.put(indexed("a-1", 5) + indexed("ab", 6))
    assert [one.row.id for one in index.latest("a", 3)] == ["a-3", "a-2_0", "a-2_1"]
    assert [one.row.id for one in index.latest("a-1", 3)] == ["a-1-5"]
    assert index.latest("b", 3) == []
    index.close()
