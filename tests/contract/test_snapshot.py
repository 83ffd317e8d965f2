"""A run that is queued again runs the code of its submission."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.contract.places import Place, place_of
from tests.integration.site import until

from headrace.core.order import Order
from headrace.core.records import read_record
from headrace.engines.code import CodeTooLarge, taken

PROGRAM = """
import pathlib, sys, time
print({word!r}, flush=True)
while not pathlib.Path(sys.argv[1]).exists():
    time.sleep(0.05)
"""


@pytest.fixture(params=["local", "fake-22.05"])
def place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    with place_of(request.param, tmp_path_factory.mktemp("p"), None) as found:
        yield found


def test_a_run_that_is_queued_again_runs_the_code_of_its_submission(
    place: Place, tmp_path: Path
) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.format(word="first"))
    words = (sys.executable, "program.py", str(place.folder / "open"))
    run_id = place.submit(*words, workdir=str(tmp_path), snapshot="true").id
    until(lambda: "first" in place.log(run_id))
    program.write_text(PROGRAM.format(word="second"))
    place.door.requeue(run_id)
    until(lambda: place.log(run_id).count("first") == 2, 40.0)
    (place.folder / "open").touch()
    (row,) = place.end(run_id)
    assert (row.state, row.attempts) == ("COMPLETED", 2)
    assert "second" not in place.log(run_id)
    order = read_record(place.folder_of(run_id).order, Order)
    found = taken(Path(order.workdir).parent)
    assert found is not None
    assert (found.source, found.commit, found.workdir) == (str(tmp_path), None, order.workdir)


def test_a_folder_too_large_for_a_snapshot_leaves_no_run_behind(
    place: Place, tmp_path: Path
) -> None:
    with (tmp_path / "corpus.bin").open("wb") as corpus:
        corpus.truncate(1 << 30)
    with pytest.raises(CodeTooLarge):
        place.submit("true", workdir=str(tmp_path), snapshot="true")
    assert place.door.runs(ended=True) == []
