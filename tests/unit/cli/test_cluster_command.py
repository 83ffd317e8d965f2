"""``headrace cluster``: what it refuses, and what it prints without a cluster."""

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from headrace.cli import cluster
from headrace.cluster.bringup import packages
from headrace.cluster.bringup.errors import PackagesMissing
from headrace.core.errors import HeadraceError

LAB = Path(__file__).parents[2] / "golden" / "cluster" / "lab"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HEADRACE_CLUSTER", str(tmp_path / "c"))
    return tmp_path / "c"


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(cluster.app, list(arguments))


def refusal(status: int, *arguments: str) -> str:
    result = invoke(*arguments)
    assert isinstance(result.exception, HeadraceError), result.output
    assert result.exception.exit_status == status
    return str(result.exception)


@pytest.mark.parametrize(
    "words", ["up --virtual 2", "down", "kill-node n1", "start-node n1", "cut n1", "exec n1 -- ls"]
)
def test_what_changes_the_machine_needs_root(words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    verb = words.split()[0]
    assert refusal(4, *words.split()) == (
        f"error HR-CLUSTER-001: headrace cluster {verb} was started by uid 1000, not by root\n"
        "  why: it makes namespaces, network links and daemons that serve every user\n"
        f"  fix: sudo headrace cluster {verb}"
    )


def test_missing_packages_are_named_in_one_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "missing", lambda: ["slurmctld", "ip", "tc"])
    with pytest.raises(PackagesMissing) as caught:
        packages.require(install=False)
    assert str(caught.value) == (
        "error HR-CLUSTER-002: not installed: slurmctld, ip, tc\n"
        "  why: the virtual cluster runs the real daemons of Slurm, munge and MariaDB\n"
        "  fix: headrace cluster up --install, or: "
        "apt-get install --no-install-recommends slurmctld iproute2"
    )


def test_without_a_cluster_its_status_is_not_found(folder: Path) -> None:
    assert refusal(3, "status").startswith(
        f"error HR-CLUSTER-004: there is no virtual cluster in {folder}"
    )
    refusal(3, "env")


def test_a_dry_run_prints_the_plan_and_makes_nothing(folder: Path) -> None:
    result = invoke("up", "--virtual", "2", "--dry-run")
    assert '"nodes":[{"name":"n1"' in result.output, result.exception
    assert not folder.exists()


def test_the_files_of_a_site_are_printed_or_written(tmp_path: Path) -> None:
    printed = invoke("render", str(LAB / "SITE.toml")).output
    assert "# ==> slurm.conf <==" in printed
    out = tmp_path / "out"
    paths = invoke("render", str(LAB / "SITE.toml"), "--out", str(out)).output.split()
    assert [Path(path).read_text() in printed for path in paths] == [True] * 5
    assert (out / "slurmdbd.conf").stat().st_mode & 0o777 == 0o600
