"""From job description and place to the lead's order. Pure."""

from typing import TYPE_CHECKING

from headrace.core.events import Placed
from headrace.core.order import Order, RestartPolicy
from headrace.core.rundir import RunDir
from headrace.engines.local.history import History
from headrace.engines.local.submission import Submission
from headrace.spec.image import in_image
from headrace.spec.modules import with_modules

if TYPE_CHECKING:
    from headrace.spec.job import JobSpec

_KILL_WAIT_S = 10.0
_HANG_S = 600.0
_GRACE_MIN_S, _GRACE_MAX_S = 5.0, 60.0


def make_order(
    spec: "JobSpec",
    asked: Submission,
    history: History,
    placed: tuple[Placed, ...],
    *,
    run: RunDir,
    attempt: int,
) -> Order:
    """``attempt``: number of the first attempt. A batch script gets its first
    node, as one rank, and is run from the copy in ``run``."""
    request = asked.request
    once = spec.script_semantics
    return Order(
        run_id=asked.run_id,
        name=asked.name,
        attempt=attempt,
        placed=placed[:1] if once else placed,
        ranks_per_node=1 if once else request.ranks_per_node,
        cpus_per_rank=request.cpus_per_node if once else request.cpus_per_rank,
        framework=spec.framework,
        command=(*spec.interpreter, str(run.script))
        if spec.script
        else with_modules(
            spec, in_image(spec, spec.argv, run=run.root, gpus=request.gpus_per_node)
        ),
        workdir=str(spec.workdir),
        env=dict(spec.env),
        environment_file=str(run.environment),
        session=spec.session(),
        setup=spec.setup,
        data=spec.data_places(),
        time_limit_s=asked.limit_s,
        time_used_s=history.lead_time_s,
        stop_grace_s=stop_grace_s(spec.checkpoint.grace_s, asked.limit_s),
        kill_wait_s=_KILL_WAIT_S,
        hang_s=_HANG_S,
        restart=RestartPolicy(
            max=spec.restart.max,
            on=spec.restart.on,
            silent_error=spec.restart_given,
            never_on_exit=spec.restart.never_on_exit,
        ),
        restarts_used=history.restarts_used,
        array_index=asked.array_index,
        array_id=asked.array_id,
    )


def stop_grace_s(asked_s: float | None, time_limit_s: float | None) -> float:
    """As asked; else a tenth of the time limit, but from 5 to 60 seconds."""
    if asked_s is not None:
        return float(asked_s)
    if time_limit_s is None:
        return _GRACE_MAX_S
    return max(_GRACE_MIN_S, min(_GRACE_MAX_S, time_limit_s / 10))
