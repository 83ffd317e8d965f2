"""A rank that makes calls: ``python -m headrace.launch.callee CALLS_FILE CHUNK``.

Calls of the file are made CHUNK at a time, one after the other: in an array, element i makes the
i-th chunk of them. The outcome of each is on disk before the next begins. A rank that is started
again passes over the calls that all ranks have answered, so that a call gives one result however
often its run is queued again; once all results are taken the file is gone.

A function whose training session was stopped has not been answered, whatever it returned, nor has
one that raises after it was told to leave. On SIGTERM a callable with a method ``checkpoint`` says
how to go on, and the rank leaves.
"""

import os
import signal
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType, TracebackType

from headrace.core.events import StopAsked
from headrace.core.rundir import RunDir, read_events
from headrace.launch.calls import (
    Call,
    Name,
    again_file,
    outcomes_folder,
    parse_name,
    read_call,
    read_contents,
    read_outcome,
    refresh,
    write_calls,
    write_error,
    write_value,
)
from headrace.launch.delayed import checkpoint_of

_EXIT_TERMINATED = 128 + signal.SIGTERM
_LEAVE_S = 2.0


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    path, chunk = Path(arguments[0]), int(arguments[1])
    if not path.exists() and int(environ.get("HEADRACE_ATTEMPT", 0)):
        sys.stderr.write("headrace: the results of earlier attempts have been taken\n")
        return 0
    contents = read_contents(path)
    sys.path[:] = dict.fromkeys((*contents.import_path, *sys.path))
    if contents.python != sys.version_info[:2]:
        theirs = ".".join(map(str, contents.python))
        sys.stderr.write(f"headrace: the calls were pickled by Python {theirs}\n")
    begin = int(environ.get("SLURM_ARRAY_TASK_ID", 0)) * chunk
    indices = range(begin, min(begin + chunk, len(contents.calls)))
    codes = []
    for index in indices:
        codes.append(make(path, index, environ))
        if _stopped():
            break
    return next((code for code in codes if code), 0)


def make(path: Path, index: int, environ: Mapping[str, str]) -> int:
    """The call of that place in the file. Return the exit code that it is worth."""
    name = Name(
        number=int(path.stem) + index,
        attempt=int(environ.get("HEADRACE_ATTEMPT", 0)),
        rank=int(environ.get("RANK", 0)),
        ranks=int(environ.get("WORLD_SIZE", 1)),
    )
    again = again_file(path.parent, name.number)
    for folder in (again.parent, outcomes_folder(path.parent)):
        refresh(folder)
    if name.attempt and is_answered(path.parent, name.number):
        sys.stderr.write("headrace: an earlier attempt has given the result\n")
        return 0
    outcome = outcomes_folder(path.parent) / str(name)
    try:
        call = read_call(again, 0) if again.exists() else read_call(path, index)
    except Exception as error:
        return _failed(outcome, error, error.__traceback__)
    _answer_stops(call, again if name.rank == 0 else None)
    try:
        value = call.function(*call.args, **call.kwargs)
    except BaseException as error:
        trace = error.__traceback__ and error.__traceback__.tb_next
        if asked_to_stop(environ, name.attempt):
            traceback.print_exception(type(error), error, trace)
            return _EXIT_TERMINATED
        return _failed(outcome, error, trace)
    if _stopped():
        sys.stderr.write("headrace: training was stopped; the call is made again if the run is\n")
        return 0
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it is done: only the writing is left
    if write_value(outcome, value):
        return 0
    sys.stderr.write(f"headrace: {read_outcome(outcome)[0].summary}\n")
    return 1


def asked_to_stop(environ: Mapping[str, str], attempt: int) -> bool:
    """Whether the agent has told this node's ranks to leave: what they raise then is no answer."""
    if "HEADRACE_RUN_DIR" not in environ:
        return False
    run = RunDir(Path(environ["HEADRACE_RUN_DIR"]))
    told = read_events(run.events / f"agent-{environ['HEADRACE_NODE']}.jsonl")
    return any(isinstance(one.event, StopAsked) and one.attempt == attempt for one in told)


def _stopped() -> bool:
    """Whether a training session in this process has left its loop because it was told to."""
    stop = sys.modules.get("headrace.train.stop")
    return stop is not None and stop.StopFlag.obeyed


def is_answered(calls: Path, number: int) -> bool:
    """Whether all ranks of one attempt have given a value."""
    folder = outcomes_folder(calls)
    names = [name for name in map(parse_name, os.listdir(folder)) if name is not None]
    found = [name for name in names if name.number == number]
    good = [name for name in found if read_outcome(folder / str(name))[0].kind == "value"]
    return any(sum(one.attempt == other.attempt for other in good) == one.ranks for one in good)


def _failed(outcome: Path, error: BaseException, trace: TracebackType | None) -> int:
    text = "".join(traceback.format_exception(type(error), error, trace))
    write_error(outcome, error, text)
    sys.stderr.write(text)
    if isinstance(error, SystemExit) and isinstance(error.code, int) and error.code:
        return error.code
    return 1


def _answer_stops(call: Call, again: Path | None) -> None:
    """On SIGTERM save how to go on, if this rank is to (``again``) and the function can. It stands
    still after that, so that the agent, which may have had the same signal, is first to say why."""
    ask = checkpoint_of(call.function)
    if ask is None or again is None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
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
