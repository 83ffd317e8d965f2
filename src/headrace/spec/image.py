"""Ranks in a container: the command line of Apptainer, and what it cannot honour. Pure.

The agent stays outside, where Slurm's commands are, and starts each rank as ``apptainer exec``. The
host's environment reaches the rank; PATH and LD_LIBRARY_PATH are the image's. Apptainer shows a
rank /tmp, /dev, /dev/shm and the home folder of the host by itself. Source: apptainer-exec(1).

An image is one file that all nodes share. A reference would be fetched and unpacked by each node
once more, so it is refused with the command that makes a file of it.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from headrace.spec.job import JobSpec

_FILE = re.compile(r"(?:[./].*|[^:@#]*\.(?:sif|img|sqfs|squashfs))", re.ASCII)


class Refusal(NamedTuple):
    why: str
    remedy: str


def refusal_of(spec: "JobSpec") -> Refusal | None:
    """Why ``spec.image`` cannot be used; None where it can, or where there is none."""
    if spec.image is None:
        return None
    if spec.script:
        return Refusal(
            "a batch script starts its ranks itself",
            "remove image, and say apptainer exec, or srun --container-image, in the script",
        )
    if spec.image.startswith("~"):
        return Refusal("no shell reads it, so ~ means nothing", "write the whole path")
    if _FILE.fullmatch(spec.image):
        return None
    reference = spec.image if "://" in spec.image else f"docker://{spec.image.replace('#', '/')}"
    name = re.split(r"[/#]", spec.image)[-1].partition(":")[0] or "image"
    return Refusal(
        "each node would fetch and unpack it anew; an image is a file here",
        f"apptainer pull {name}.sif {reference}, then image: {name}.sif",
    )


def in_image(spec: "JobSpec", argv: Sequence[str], *, run: Path, gpus: int) -> tuple[str, ...]:
    """``argv`` as it is started on a node: in the image, where there is one.

    Bound beside what Apptainer binds: the run directory with its runs folder, the folder the
    program runs in, and data that lies in files. ``gpus``: of a node.
    """
    if spec.image is None:
        return tuple(argv)
    image = spec.workdir / spec.image
    sources = [Path(one.source) for one in spec.data if one.source.startswith("/")]
    folders = dict.fromkeys(map(str, (run.parent, spec.workdir, *sources)))
    return (
        *("apptainer", "exec"),
        *["--nv"] * bool(gpus),
        *(word for folder in folders for word in ("--bind", folder)),
        *("--pwd", str(spec.workdir), str(image)),
        *argv,
    )
