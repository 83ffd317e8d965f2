"""A rank that makes one call: ``python -m headrace.launch.callee CALLS_FILE``.

In an array, element i makes the i-th call of the file. The outcome is on disk before the rank ends.
A rank that is started again when the call has already been answered by all ranks ends at once, so
that a call gives one result however often its run is queued again.

On SIGTERM a callable with a method ``checkpoint`` says how to go on, and the rank leaves.
"""

import os
import signal
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType, TracebackType

from headrace.launch.calls import (
    Call,
    Name,
    again_file,
    outcomes_folder,
    parse_name,
    read_call,
    read_contents,
    read_outcome,
    write_calls,
    write_error,
    write_value,
)
from headrace.launch.delayed import checkpoint_of

_EXIT_TERMINATED = 128 + signal.SIGTERM
_LEAVE_S = 2.0


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    path = Path(arguments[0])
    index = int(environ.get("SLURM_ARRAY_TASK_ID", 0))
    name = Name(
        number=int(path.stem) + index,
        attempt=int(environ.get("HEADRACE_ATTEMPT", 0)),
        rank=int(environ.get("RANK", 0)),
        ranks=int(environ.get("WORLD_SIZE", 1)),
    )
    if name.attempt and is_answered(path.parent, name.number):
        sys.stderr.write("headrace: an earlier attempt has given the result\n")
        return 0
    outcome = outcomes_folder(path.parent) / str(name)
    try:
        call = _find(path, index, name.number)
    except Exception as error:
        return _failed(outcome, error, error.__traceback__)
    if name.rank == 0:
        _answer_stops(call, again_file(path.parent, name.number))
    try:
        value = call.function(*call.args, **call.kwargs)
    except BaseException as error:
        trace = error.__traceback__
        return _failed(outcome, error, trace.tb_next if trace else None)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it is done: only the writing is left
    if write_value(outcome, value):
        return 0
    sys.stderr.write(f"headrace: {read_outcome(outcome)[0].summary}\n")
    return 1


def is_answered(calls: Path, number: int) -> bool:
    """Whether all ranks of one attempt have given a value."""
    folder = outcomes_folder(calls)
    names = [name for name in map(parse_name, os.listdir(folder)) if name is not None]
    found = [name for name in names if name.number == number]
    good = [name for name in found if read_outcome(folder / str(name))[0].kind == "value"]
    return any(sum(one.attempt == other.attempt for other in good) == one.ranks for one in good)


def _find(path: Path, index: int, number: int) -> Call:
    """The call, as it was submitted or as an earlier attempt left it."""
    again = again_file(path.parent, number)
    contents = read_contents(path)
    sys.path[:] = dict.fromkeys((*contents.import_path, *sys.path))
    if contents.python != sys.version_info[:2]:
        theirs = ".".join(map(str, contents.python))
        sys.stderr.write(f"headrace: the call was pickled by Python {theirs}\n")
    return read_call(again, 0) if again.exists() else read_call(path, index)


def _failed(outcome: Path, error: BaseException, trace: TracebackType | None) -> int:
    text = "".join(traceback.format_exception(type(error), error, trace))
    write_error(outcome, error, text)
    sys.stderr.write(text)
    if isinstance(error, SystemExit) and isinstance(error.code, int) and error.code:
        return error.code
    return 1


def _answer_stops(call: Call, again: Path) -> None:
    """On SIGTERM save how to go on. It stands still after that, so that the agent, which may have
    had the same signal, is first to say why."""
    ask = checkpoint_of(call.function)
    if ask is None:
        return

    def save(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        sys.stderr.write("headrace: asked to stop; the callable is asked for its checkpoint\n")
        try:
            left = ask(*call.args, **call.kwargs)
            if left is not None:
                write_calls(again, [Call(left.function, tuple(left.args), left.kwargs)])
        except Exception:
            traceback.print_exc()
        sys.stderr.flush()
        time.sleep(_LEAVE_S)
        os._exit(_EXIT_TERMINATED)

    signal.signal(signal.SIGTERM, save)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
