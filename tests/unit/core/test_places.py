import os
from pathlib import Path

import pytest

from headrace.core import places
from headrace.core.places import PlaceRefused


def test_runs_lie_where_the_environment_says_then_the_site_then_at_home(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path)}
    explicit = home | {"HEADRACE_RUNS": "/scratch/runs"}
    assert places.runs_folder(explicit, site_runs="/site") == Path("/scratch/runs")
    assert places.runs_folder(home, site_runs="/site") == Path("/site")
    assert places.runs_folder(home) == tmp_path / ".local/share/headrace/runs"


def test_the_sockets_folder_is_private(tmp_path: Path) -> None:
    path = places.socket_path({"XDG_RUNTIME_DIR": str(tmp_path)})
    assert path == tmp_path / "headrace" / "daemon.sock"
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_without_a_runtime_folder_a_private_one_is_made_under_the_temporary_folder(
    tmp_path: Path,
) -> None:
    path = places.socket_path({"TMPDIR": str(tmp_path)})
    assert path == tmp_path / f"headrace-{os.getuid()}" / "daemon.sock"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_the_runtime_folder_of_another_user_is_passed_over(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir(mode=0o700)
    os.chown(theirs, 65534, 65534)
    path = places.socket_path({"XDG_RUNTIME_DIR": str(theirs), "TMPDIR": str(tmp_path)})
    assert path.parent == tmp_path / f"headrace-{os.getuid()}"


def test_a_folder_that_cannot_be_made_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PlaceRefused) as caught:
        places.socket_path({"TMPDIR": str(tmp_path / "file")})
    folder = tmp_path / "file" / f"headrace-{os.getuid()}"
    assert str(caught.value) == (
        f"error HR-CORE-002: {folder} cannot be made\n"
        "  why: Not a directory\n"
        "  fix: set XDG_RUNTIME_DIR to a folder of your own (mode 0700)"
    )


def test_a_folder_others_can_enter_is_refused(tmp_path: Path) -> None:
    (tmp_path / "headrace").mkdir(mode=0o755)
    folder = tmp_path / "headrace"
    with pytest.raises(PlaceRefused) as caught:
        places.socket_path({"XDG_RUNTIME_DIR": str(tmp_path)})
    assert str(caught.value) == (
        f"error HR-CORE-002: {folder} is not a private folder of yours\n"
        "  why: another user could answer in the daemon's name\n"
        f"  fix: remove {folder} or set XDG_RUNTIME_DIR to a folder of your own (mode 0700)"
    )


def test_a_link_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "headrace").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PlaceRefused):
        places.socket_path({"XDG_RUNTIME_DIR": str(tmp_path)})


def test_a_path_too_long_for_a_socket_is_refused_with_its_length(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    with pytest.raises(PlaceRefused, match="is too long for a Unix socket"):
        places.socket_path({"XDG_RUNTIME_DIR": str(deep)})
