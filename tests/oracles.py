"""Published schedules to be equal to: Batsim's results, from their archive."""

import csv
import io
import tarfile
from pathlib import Path


def batsim_starts(archive: Path, policy: str) -> dict[str, tuple[float, str]]:
    """Job id -> (start time, machines as ``0-3 7``) of ``easy`` or ``conservative``."""
    with tarfile.open(archive) as whole:
        member = whole.extractfile(f"{policy}/out_jobs.csv")
        assert member is not None
        rows = csv.DictReader(io.StringIO(member.read().decode()))
        return {
            row["job_id"]: (float(row["starting_time"]), row["allocated_resources"]) for row in rows
        }
