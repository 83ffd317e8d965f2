"""Ranks that import from a copy of their environment: a real venv, real leads, agents and ranks."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.integration.launched import Launched
from tests.integration.site import until

from headrace.core.events import Staged, Staging
from headrace.core.order import PythonPlace
from headrace.data.cache.folder import open_folder
from headrace.data.cache.owner import owned, this_process
from headrace.engines.packed_python import pack
from headrace.spec import make

SHOW = "import net, sys; print('prefix', sys.prefix, net.__file__)"


@pytest.fixture(scope="module")
def venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    prefix = tmp_path_factory.mktemp("home") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", prefix], check=True)
    (site_packages,) = prefix.glob("lib/python3*/site-packages")
    (site_packages / "net.py").write_text("width = 1\n")
    tool = prefix / "bin/show"
    tool.write_text(f"#!{prefix}/bin/python\n{SHOW}\n")
    tool.chmod(0o755)
    return prefix


@pytest.fixture
def place(venv: Path, tmp_path: Path) -> PythonPlace:
    spec = make(cwd=venv.parent, run="venv/bin/show", stage_python="nvme")
    return pack(spec, "nvme", {"PATH": "/usr/bin"}, tmp_path / "runs")


def run(
    launch: Callable[..., Launched], place: PythonPlace, text: str, **env: str
) -> tuple[Launched, str]:
    """The run when it has ended, and what its ranks have shown."""
    folder, prefix = str(Path(place.archive).parents[1].parent), Path(place.names[0])
    environ = {"HEADRACE_CACHE": f"{folder}/nvme", "PATH": f"{prefix}/bin:/usr/bin:/bin"} | env
    found = launch(
        *("/bin/bash", "-c", text), python=place, env=environ, workdir=str(prefix.parent)
    )
    assert found.end().state == "COMPLETED", found.log()
    return found, found.log()


def test_ranks_import_from_one_copy_however_they_are_started(
    launch: Callable[..., Launched], place: PythonPlace
) -> None:
    inside = f'python -c "{SHOW}"'
    ways = ("venv/bin/show", "show", inside, f"(. venv/bin/activate && {inside})")
    found, log = run(launch, place, " && ".join(ways))
    (tree,) = {one.tree for one in found.events_of(Staged)}
    assert tree is not None
    assert log.count(f"prefix {tree} {tree}/lib/python3") == 2 * len(ways)
    assert sorted(one.copied_bytes for one in found.events_of(Staged)) == [0, place.size_bytes]
    later, log = run(launch, place, "show")
    assert [one.copied_bytes for one in later.events_of(Staged)] == [0, 0]
    assert log.count(f"headrace: {place.names[0]} is on node-") == 2
    assert log.count(f"prefix {tree} ") == 2


def test_without_room_on_the_node_ranks_import_from_the_environment_itself(
    launch: Callable[..., Launched], place: PythonPlace
) -> None:
    _, log = run(launch, place, "show", HEADRACE_CACHE_LIMIT="1K")
    prefix = place.names[0]
    assert log.count(f"prefix {prefix} {prefix}/lib/python3") == 2
    assert log.count(f"headrace: {prefix} is read in place by node-") == 2
    assert log.count("do not fit in the") == 2


def test_a_run_goes_on_without_its_archive(
    launch: Callable[..., Launched], place: PythonPlace
) -> None:
    Path(place.archive).unlink()
    _, log = run(launch, place, "show")
    assert log.count(f"prefix {place.names[0]} ") == 2
    assert log.count("No such file or directory") == 2


def test_a_run_is_cancelled_at_once_while_it_waits_for_the_copy_of_another(
    launch: Callable[..., Launched], place: PythonPlace, tmp_path: Path
) -> None:
    home = open_folder(tmp_path / "nvme").root / "python"
    home.mkdir()
    with owned(home, this_process("other-7")):
        found = launch("true", python=place, env={"HEADRACE_CACHE": str(tmp_path / "nvme")})
        until(lambda: len(found.events_of(Staging)) >= 2)
        assert {event.waits_for for event in found.events_of(Staging)} == {"other-7"}
        found.lead.send_signal(signal.SIGTERM)
        assert found.end(20.0).state == "CANCELLED"
    assert found.left() == []
