"""Write a site's files to a folder."""

from collections.abc import Mapping
from pathlib import Path

from headrace.cluster.bringup.errors import SiteUnreadable
from headrace.core.records import write_file


def write_files(files: Mapping[str, str], folder: Path, modes: Mapping[str, int]) -> list[Path]:
    """The paths written. Raise ``SiteUnreadable`` where the folder does not take them."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            write_file(folder / name, text.encode(), mode=modes.get(name, 0o644))
    except OSError as error:
        reason = error.strerror or str(error)
        raise SiteUnreadable(folder, reason, "name a folder of yours with --out") from None
    return [folder / name for name in files]
