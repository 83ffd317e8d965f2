"""RAPL energy counters of processor packages, in /sys/class/powercap.

Counters count microjoules and wrap at ``max_energy_range_uj``; since 2020 only root reads them on
most kernels. Only packages are read: core, uncore and the like are parts of them. Source:
Documentation/power/powercap/powercap.rst.
"""

from pathlib import Path


def package_folders(root: Path) -> list[Path]:
    """Folders of the top-level domains (intel-rapl:0, not intel-rapl:0:0)."""
    return sorted(
        folder
        for folder in (root / "sys/class/powercap").glob("intel-rapl:*")
        if folder.name.count(":") == 1
    )


def readable_domains(root: Path) -> tuple[tuple[str, ...], bool]:
    """Names of the packages, and whether all of their counters may be read."""
    folders = package_folders(root)
    names, readable = [], bool(folders)
    for folder in folders:
        try:
            names.append((folder / "name").read_text().strip())
            (folder / "energy_uj").read_text()
        except OSError:
            readable = False
    return tuple(names), readable


def counter_step(before_uj: int, after_uj: int, range_uj: int) -> int:
    """Microjoules between two readings of a counter that wrapped at most once."""
    return after_uj - before_uj if after_uj >= before_uj else after_uj + range_uj - before_uj


class Rapl:
    """Adds up the counters of all packages; read it more often than they wrap (about a minute)."""

    def __init__(self, root: Path) -> None:
        self._ranges: dict[Path, int] = {}
        self._last: dict[Path, int] = {}
        for folder in package_folders(root):
            try:
                self._ranges[folder] = int((folder / "max_energy_range_uj").read_text())
                self._last[folder] = int((folder / "energy_uj").read_text())
            except OSError:
                self._ranges.clear()
                break

    @property
    def is_readable(self) -> bool:
        return bool(self._ranges)

    def step_j(self) -> float:
        """Joules of the whole machine's packages since the last call."""
        total_uj = 0
        for folder, range_uj in self._ranges.items():
            now_uj = int((folder / "energy_uj").read_text())
            total_uj += counter_step(self._last[folder], now_uj, range_uj)
            self._last[folder] = now_uj
        return total_uj / 1e6
