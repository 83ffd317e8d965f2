"""The name of a run that was given none, from what it runs."""

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from headrace.spec.forms import slug

_LAUNCHERS = re.compile(r"(python|pypy|torchrun|accelerate|deepspeed|srun|mpirun|bash|sh)[\d.]*")


def name_of(program: Mapping[str, Any]) -> str:
    """ "train" for ``python train.py``, ``python -m pkg.train``, pkg.jobs:train, train.sbatch."""
    match program:
        case {"script": str() | PurePath() as script}:
            return slug(PurePath(script).stem)
        case {"python": str() as target}:
            return slug(target.rpartition(":")[2])
        case {"command": [*words]} | {"command": (*words,)}:
            return _name_of_words([str(word) for word in words])
        case {"run": str() as text}:
            return _name_of_words(_words(text))
        case _:
            return "run"


def _words(text: str) -> list[str]:
    """Words of the last line of shell text, where the program usually is."""
    lines = [line for line in text.splitlines() if line.strip()]
    try:
        return shlex.split(lines[-1]) if lines else []
    except ValueError:
        return lines[-1].split()


def _name_of_words(words: Sequence[str]) -> str:
    """The first script among the words, else the module after -m, else the program."""
    for before, word in zip(["", *words], words, strict=False):
        if word.endswith((".py", ".sh")) and not word.startswith("-"):
            return slug(PurePath(word).stem)
        if before == "-m" and re.fullmatch(r"[\w.]*[A-Za-z_][\w.]*", word):
            return slug(word.rpartition(".")[2])
    programs = [word for word in words if not _LAUNCHERS.fullmatch(PurePath(word).name)]
    plain = [word for word in programs if not word.startswith("-") and "=" not in word]
    return slug(PurePath([*plain, *words, "run"][0]).name)
