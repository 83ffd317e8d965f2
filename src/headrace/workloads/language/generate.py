"""Let a trained decoder write.

    python -m headrace.workloads.language.generate RUN_DIR --prompt "def " --tokens 200 --seed 1

Takes a run directory, its checkpoints folder or one checkpoint; the shape of the model is in it.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch

from headrace import checkpoint
from headrace.checkpoint.errors import CheckpointNotFound
from headrace.core.errors import HeadraceError, UsageError
from headrace.workloads.language.model import Decoder, DecoderConfig, generate

BYTES = 256
MODEL = "model/"


class NotADecoder(UsageError):
    """The checkpoint was not made by ``headrace.workloads.language.train``."""

    code = "HR-WORKLOADS-001"

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path}: not a checkpoint of the language workload",
            why="it holds no shape of a decoder, or tensors of another shape",
            remedy="train one: python -m headrace.workloads.language.train --steps 300",
        )


def load_decoder(path: Path) -> Decoder:
    """Raise ``CheckpointNotFound``, ``DamagedCheckpoint``, ``NoneUsable`` or ``NotADecoder``."""
    loaded = _load(path)
    objects = cast(dict[str, Any], loaded.state.get("objects", {}))
    try:
        decoder = Decoder(DecoderConfig(**objects["config"]))
        decoder.load_state_dict(
            {
                name.removeprefix(MODEL): tensor
                for name, tensor in loaded.tensors.items()
                if name.startswith(MODEL)
            }
        )
    except (KeyError, TypeError, RuntimeError) as error:
        raise NotADecoder(loaded.path) from error
    return decoder.eval()


def _load(path: Path) -> checkpoint.Loaded:
    for root in (path / "checkpoints", path):
        if root.is_dir() and (found := checkpoint.load_newest(root)) is not None:
            return found
    if path.name.startswith("step-"):
        return checkpoint.load(path)
    raise CheckpointNotFound(path)


def write(decoder: Decoder, options: argparse.Namespace) -> str:
    """Prompt and continuation. Ends of documents are left out."""
    prompt = options.prompt.encode()
    tokens = generate(
        decoder,
        list(prompt),
        tokens=options.tokens,
        temperature=options.temperature,
        top_k=options.top_k,
        generator=torch.Generator().manual_seed(options.seed),
    )
    written = bytes(token for token in tokens if token < BYTES)
    text: str = (prompt + written).decode(errors="replace")
    return text


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Let a trained decoder write.", allow_abbrev=False)
    parser.add_argument("checkpoint", type=Path, help="run directory or checkpoint")
    parser.add_argument("--prompt", default="def ", help="at least one character")
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--temperature", type=float, default=0.8, help="0: always the likeliest")
    parser.add_argument("--top-k", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(argv)
    if not options.prompt:
        parser.error("--prompt must not be empty")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    options = parse_arguments(sys.argv[1:] if argv is None else argv)
    try:
        text = write(load_decoder(options.checkpoint), options)
    except HeadraceError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_status
    sys.stdout.write(f"{text}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
