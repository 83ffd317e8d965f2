"""Ranks in a container: the command lines of Apptainer, enroot and pyxis. Pure.

The agent stays outside, where Slurm's commands are, and starts each rank in the image. The host's
environment reaches the rank; PATH and LD_LIBRARY_PATH are the image's. Sources: apptainer-exec(1),
enroot's doc/cmd/start.md, and the options that pyxis adds to srun(1).

A ``.sqsh`` is enroot's, every other file Apptainer's. An image is one file that all nodes share. A
reference would be fetched and unpacked by each node once more, so it is refused with the commands
that make a file of it.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from headrace.spec.job import JobSpec

_FILE = re.compile(r"(?:[./].*|[^:@#]*\.(?:sif|img|sqfs|squashfs|sqsh))", re.ASCII)
_REGISTRY = re.compile(r"^([^/]*[.:][^/]*)/", re.ASCII)
_ENROOT = 'exec enroot start "$@" <&"$HEADRACE_CHANNEL_FD"'
_CONFIGURATION = Path(__file__).with_name("enroot.conf")


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
    name = re.split(r"[/#]", spec.image)[-1].partition(":")[0] or "image"
    return Refusal(
        "each node would fetch and unpack it anew; an image is a file here",
        f"apptainer pull {name}.sif {_docker(spec.image, '/')}, then image: {name}.sif; or enroot "
        f"import -o {name}.sqsh {_docker(spec.image, '#')}, then image: {name}.sqsh",
    )


def _docker(image: str, after_registry: str) -> str:
    """With its scheme. enroot has a # after the name of the registry."""
    scheme, _, rest = image.rpartition("://")
    parted = _REGISTRY.sub(rf"\1{after_registry}", rest.replace("#", "/"), count=1)
    return f"{scheme or 'docker'}://{parted}"


def in_image(spec: "JobSpec", argv: Sequence[str], *, run: Path, gpus: int) -> tuple[str, ...]:
    """``argv`` as it is started on a node: in the image, where there is one.

    Bound beside what the site binds: the run directory with its runs folder, the folder the
    program runs in, and data that lies in files. ``gpus``: of a node.
    """
    if spec.image is None:
        return tuple(argv)
    if is_enroots(spec):
        return (*_enroot(spec, run, gpus), *argv)
    return (
        *("apptainer", "exec"),
        *["--nv"] * bool(gpus),
        *(word for folder in _bound(spec, run) for word in ("--bind", folder)),
        *("--pwd", str(spec.workdir), str(spec.workdir / spec.image)),
        *argv,
    )


def _enroot(spec: "JobSpec", run: Path, gpus: int) -> tuple[str, ...]:
    """enroot closes all files but the first three, so the rank's channel goes in as the first."""
    mounts = (f"{folder}:{folder}:none:x-create=auto,rbind" for folder in _bound(spec, run))
    return (
        *("/bin/bash", "-c", _ENROOT, "enroot", "--conf", str(_CONFIGURATION)),
        *("--env", "NVIDIA_VISIBLE_DEVICES=all") * bool(gpus),
        *(word for mount in mounts for word in ("--mount", mount)),
        *(str(spec.workdir / (spec.image or "")), str(spec.workdir)),
    )


def in_step(spec: "JobSpec", argv: Sequence[str], *, run: Path, gpus: int) -> tuple[str, ...]:
    """``argv`` as the ranks of a step that srun starts, which is what MPI wants: in an image of
    enroot's by pyxis."""
    if not is_enroots(spec):
        return ("srun", *in_image(spec, argv, run=run, gpus=gpus))
    mounts = ",".join(f"{folder}:{folder}" for folder in _bound(spec, run))
    return (
        *("srun", f"--container-image={spec.workdir / (spec.image or '')}"),
        *(f"--container-mounts={mounts}", f"--container-workdir={spec.workdir}"),
        *("--no-container-remap-root", "--no-container-entrypoint"),
        *argv,
    )


def is_enroots(spec: "JobSpec") -> bool:
    return spec.image is not None and spec.image.endswith(".sqsh")


def _bound(spec: "JobSpec", run: Path) -> list[str]:
    sources = [Path(one.source) for one in spec.data if one.source.startswith("/")]
    return list(dict.fromkeys(map(str, (run.parent, spec.workdir, *sources))))
