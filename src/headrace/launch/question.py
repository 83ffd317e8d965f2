"""A question that a command answers with a number, asked beside a loop that goes on."""

import contextlib
import os

_ANSWER_BYTES = 64


def ask(argv: tuple[str, ...]) -> int:
    """Start the command; the end of a pipe that can be read when it has answered, or will not.

    What has become of it is for who reaps the children of this process.
    """
    ours, its = os.pipe()
    try:
        actions = [(os.POSIX_SPAWN_DUP2, its, 1)]
        os.posix_spawnp(argv[0], argv, os.environ, file_actions=actions)
    except OSError:
        pass  # nobody holds the other end then: no answer
    finally:
        os.close(its)
    return ours


def answered(question: int) -> float | None:
    """The answer, None for none; closes the pipe."""
    try:
        with contextlib.suppress(OSError, ValueError):
            return float(os.read(question, _ANSWER_BYTES))
    finally:
        os.close(question)
    return None
