"""The programs a virtual cluster runs, and Debian's packages that have them."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from headrace.cluster.bringup.errors import PackagesMissing
from headrace.cluster.bringup.state import turn
from headrace.core.process import run

PACKAGES = {
    "slurmctld": "slurmctld",
    "slurmd": "slurmd",
    "slurmdbd": "slurmdbd",
    "sbatch": "slurm-client",
    "munged": "munge",
    "mariadbd": "mariadb-server",
    "ip": "iproute2",
    "tc": "iproute2",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "mount": "mount",
    "hostname": "hostname",
}
SERVICES = {
    "slurmctld": "slurmctld",
    "slurmd": "slurmd",
    "slurmdbd": "slurmdbd",
    "munge": "munge",
    "mariadb-server": "mariadb",
}
"""Package -> the service it would start; ours run with a configuration of their own."""
_POLICY = Path("/usr/sbin/policy-rc.d")
_INSTALL_S = 900.0


def missing() -> list[str]:
    """Programs that are not there, in the table's order."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    return [program for program in PACKAGES if shutil.which(program, path=path) is None]


def require(*, install: bool) -> None:
    """Raise ``PackagesMissing``, or with ``install`` make them be there."""
    programs = missing()
    packages = list(dict.fromkeys(PACKAGES[program] for program in programs))
    if programs and install and shutil.which("apt-get"):
        install_packages(packages)
        programs = missing()
    if programs:
        raise PackagesMissing(programs, packages)


def install_packages(packages: Sequence[str]) -> None:
    """Debian packages, without starting a service now (policy-rc.d: see invoke-rc.d(8)), nor
    the services of a virtual cluster at the next boot."""
    with turn():
        _install(packages)


def _install(packages: Sequence[str]) -> None:
    ours = not _POLICY.exists()
    if ours:
        _POLICY.write_text("#!/bin/sh\n# headrace cluster up --install\nexit 101\n")
        _POLICY.chmod(0o755)
    try:
        run(["apt-get", "update", "-qq"], timeout_s=_INSTALL_S)
        quiet = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y", "-qq"]
        run([*quiet, "--no-install-recommends", *packages], timeout_s=_INSTALL_S)
    finally:
        if ours:
            _POLICY.unlink(missing_ok=True)
    for service in [SERVICES[package] for package in packages if package in SERVICES]:
        run(["update-rc.d", service, "disable"])
        if shutil.which("systemctl"):
            run(["systemctl", "disable", service])
