"""Events as sentences for people. Pure."""

from headrace.core.events import (
    AttemptEnded,
    AttemptStarted,
    CancelAsked,
    CheckpointFailed,
    CheckpointSaved,
    Ended,
    Event,
    Held,
    LimitMoved,
    NodeFinding,
    NodeLost,
    Noted,
    PhaseChanged,
    RankExited,
    Released,
    Requeued,
    Restored,
    Staged,
    Staging,
    Started,
    StopAgreed,
    StopAsked,
    Submitted,
    TreeKilled,
)
from headrace.core.staged import in_words


def sentence(event: Event) -> str | None:
    """None for what only machines want to know, and for what every rank repeats."""
    return _of_run(event) or _of_ranks(event)


def _of_run(event: Event) -> str | None:
    match event:
        case Submitted(user=user):
            return f"submitted by {user}"
        case Held(by=by):
            return f"held by {by}"
        case Released(by=by):
            return f"released by {by}"
        case Started(placed=placed):
            return f"got its place: {', '.join(p.node for p in placed)}"
        case Requeued(reason=reason, detail=detail):
            return f"back in the queue ({reason}): {detail}"
        case CancelAsked(by=by):
            return f"{by} cancelled it"
        case Ended(state=state, detail=detail):
            return f"{state}: {detail}"
        case StopAsked(reason=reason):
            return f"asked to stop ({reason})"
        case LimitMoved():
            return "the batch system gives it more time"
        case Noted(level=level, text=text):
            return text if level == "info" else f"{level}: {text}"
        case _:
            return None


def _of_ranks(event: Event) -> str | None:
    match event:
        case AttemptStarted(world_size=size, nodes=nodes):
            return f"started {size} rank{'s' if size != 1 else ''} on {', '.join(nodes)}"
        case AttemptEnded(outcome=outcome, detail=detail, restart_in_s=wait_s):
            again = "" if wait_s is None else f"; starting again in {wait_s:.0f} s"
            return f"attempt ended ({outcome}): {detail}{again}"
        case RankExited(rank=rank, exit_code=code) if code != 0:
            how = f"was ended by signal {-code}" if code < 0 else f"exited with status {code}"
            return f"rank {rank} {how}"
        case NodeLost(node=node, detail=detail):
            return f"lost node {node}: {detail}"
        case NodeFinding(nodes=nodes, level=level, text=text, remedy=remedy):
            said = {"hard": "cannot be used: ", "warning": "warning: "}.get(level, "")
            return f"{', '.join(nodes)}: {said}{text} ({remedy})"
        case TreeKilled(pids=pids, detail=detail):
            return f"killed {len(pids)} processes left behind: {detail}"
        case StopAgreed(rank=0, step=step):
            return f"all ranks stop after step {step:,}"
        case Staging() | Staged():
            return in_words(event)
        case PhaseChanged(rank=0, phase=phase) if phase not in ("init", "steps"):
            return f"phase {phase}"
        case CheckpointSaved(rank=0, step=step, stall_s=stall_s):
            return f"checkpoint of step {step:,} saved (stall {stall_s:.2f} s)"
        case CheckpointFailed(rank=rank, step=step, detail=detail):
            return f"rank {rank} could not save step {step:,}: {detail}"
        case Restored(rank=0, step=step, tier="memory"):
            return f"restored from step {step:,}, in memory"
        case Restored(rank=0, step=step):
            return f"restored from step {step:,}"
        case _:
            return None
