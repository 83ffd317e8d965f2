"""Taking down what is hardly there."""

from pathlib import Path

import pytest

from headrace.cluster.bringup.down import take_down
from headrace.cluster.bringup.errors import LeftBehind, PlanDamaged
from headrace.cluster.bringup.plan import Request, make_cluster
from headrace.cluster.bringup.state import load, save


def test_nothing_there_is_nothing_to_do(tmp_path: Path) -> None:
    assert take_down(tmp_path / "c") is False


def test_a_folder_whose_plan_was_never_written_goes(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    folder.mkdir()
    (folder / ".cluster.json.77.tmp").touch()
    assert take_down(folder) is True
    assert not folder.exists()


def test_a_folder_that_is_not_a_clusters_stays(tmp_path: Path) -> None:
    (tmp_path / "letters").touch()
    with pytest.raises(LeftBehind, match="holds files but no plan"):
        take_down(tmp_path)
    assert (tmp_path / "letters").exists()


def test_files_go_and_the_plan_goes_last(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    folder.mkdir()
    (folder / "log").mkdir()
    (folder / "log" / "slurmd.log").touch()
    made = make_cluster(
        Request(nodes=0),
        identity="nobody",
        maker=None,
        folder=folder,
        prefix="10.85.0",
        hierarchies=[],
    )
    save(made)
    assert take_down(folder) is True
    assert not folder.exists()


DAMAGED = ["", "{", "[]", '{"id": 7}', '{"id": "0badcafe", "head": {"link": null}}']


@pytest.mark.parametrize("text", DAMAGED)
def test_a_damaged_plan_is_named_and_its_scripts_tell_the_id(tmp_path: Path, text: str) -> None:
    folder = tmp_path / "c"
    (folder / "boxes" / "n1").mkdir(parents=True)
    (folder / "boxes" / "n1" / "start").write_text("export HEADRACE_CLUSTER_ID=0badcafe LC_ALL=C\n")
    (folder / "cluster.json").write_text(text)
    with pytest.raises(PlanDamaged, match=r"cluster\.json does not say"):
        load(folder)
    assert take_down(folder) is True
    assert not folder.exists()


@pytest.mark.parametrize("text", DAMAGED)
def test_a_damaged_plan_beside_nothing_of_a_cluster_stays(tmp_path: Path, text: str) -> None:
    (tmp_path / "cluster.json").write_text(text)
    with pytest.raises(PlanDamaged):
        take_down(tmp_path)
    assert (tmp_path / "cluster.json").exists()


def test_a_plan_that_is_a_folder_is_an_error_in_words(tmp_path: Path) -> None:
    (tmp_path / "cluster.json").mkdir()
    with pytest.raises(PlanDamaged, match=r"cluster\.json does not say"):
        load(tmp_path)
