"""The HTTP API of a user's daemon. Handlers translate, bound their waits, and decide nothing.

Answers are the records of ``headrace.engines.contract`` as JSON; an error is a problem object:
code, problem, why, remedy, exit_status.
"""

import asyncio
import os
import pwd
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field

from headrace import __version__
from headrace.control.dispatcher import Dispatcher
from headrace.control.errors import NotYourDaemon, OtherRunsFolder, RequestNotUnderstood
from headrace.core.errors import HeadraceError
from headrace.core.records import encode
from headrace.engines.contract import RunRow
from headrace.engines.local.engine import LocalEngine
from headrace.schedule.cluster import Reservation
from headrace.spec.load import read_submitted

RUNS_HEADER = "x-headrace-runs"
_HTTP_STATUS = {2: 400, 3: 404, 4: 409, 5: 503}
_WAIT_MAX_S = 60.0
_CHECK_S = 5.0


class Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SubmitBody(Body):
    """``job``: YAML with absolute paths. ``token``: the same for every try of one submission.

    ``script``: the text of the job's batch script, if it has one.
    """

    token: Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
    job: str
    environment: dict[str, str]
    script: str | None = None


class DryRunBody(Body):
    job: str


class CancelBody(Body):
    now: bool = False


class ResizeBody(Body):
    nodes_min: Annotated[int, Field(ge=1)]
    nodes_max: Annotated[int, Field(ge=1)]


class ReservationBody(Body):
    """Times in seconds since 1970."""

    name: str
    start_s: float
    end_s: float
    nodes: tuple[str, ...]
    users: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()
    maintenance: bool = False


def make_app(
    engine: LocalEngine, dispatcher: Dispatcher, runs: str, stop: Callable[[], None]
) -> FastAPI:
    """``runs``: the folder served. ``stop``: ends the server soon."""
    app = FastAPI(
        title="Headrace",
        version=__version__,
        dependencies=[Depends(_only_owner), Depends(_same_runs(runs))],
    )
    app.add_exception_handler(HeadraceError, _problem)
    app.add_exception_handler(RequestValidationError, _not_understood)
    _add_daemon(app, engine, dispatcher, runs, stop)
    _add_queue(app, engine, dispatcher)
    _add_acts(app, engine, dispatcher)
    _add_reservations(app, engine, dispatcher)
    return app


def _add_daemon(
    app: FastAPI, engine: LocalEngine, dispatcher: Dispatcher, runs: str, stop: Callable[[], None]
) -> None:
    @app.get("/v1/daemon")
    async def daemon() -> Response:
        site, problem = await dispatcher.call(engine.site)
        told = {"pid": os.getpid(), "version": __version__, "runs": runs}
        return _answer({**told, "site": site, "site_problem": problem})

    @app.post("/v1/daemon/reload")
    async def reload_site() -> Response:
        await dispatcher.act(engine.reload)
        return await daemon()

    @app.post("/v1/daemon/stop")
    async def stop_daemon() -> Response:
        stop()
        return _answer({"pid": os.getpid()})


def _add_queue(app: FastAPI, engine: LocalEngine, dispatcher: Dispatcher) -> None:
    @app.post("/v1/runs", status_code=201)
    async def submit(request: Request, body: SubmitBody) -> Response:
        spec = read_submitted(body.job)
        if (spec.script is None) != (body.script is None):
            raise RequestNotUnderstood("a batch script comes with its text, and only that does")
        submitted = await dispatcher.act(
            engine.submit,
            spec,
            token=body.token,
            who=_caller(request),
            environment=body.environment,
            script=body.script,
        )
        return _answer(submitted, 201)

    @app.post("/v1/dry-run")
    async def dry_run(request: Request, body: DryRunBody) -> Response:
        spec = read_submitted(body.job)
        return _answer(await dispatcher.call(engine.dry_run, spec, who=_caller(request)))

    @app.get("/v1/runs")
    async def runs_now(ended: bool = False) -> Response:
        return _answer(await dispatcher.call(engine.runs, ended=ended))

    @app.get("/v1/runs/{name}")
    async def find(name: str) -> Response:
        return _answer(await dispatcher.call(engine.find, name))

    @app.get("/v1/runs/{name}/detail")
    async def detail(name: str) -> Response:
        return _answer(await dispatcher.call(engine.run, name))

    @app.get("/v1/runs/{name}/wait")
    async def wait(name: str, timeout_s: Annotated[float, Query(ge=0, le=_WAIT_MAX_S)]) -> Response:
        return _answer(await _until_ended(engine, dispatcher, name, timeout_s))

    @app.get("/v1/nodes")
    async def nodes() -> Response:
        return _answer(await dispatcher.call(engine.nodes))


def _add_acts(app: FastAPI, engine: LocalEngine, dispatcher: Dispatcher) -> None:
    @app.post("/v1/runs/{name}/cancel")
    async def cancel(request: Request, name: str, body: CancelBody) -> Response:
        who = _caller(request)
        return _answer(await dispatcher.act(engine.cancel, name, who=who, now=body.now))

    @app.post("/v1/runs/{name}/hold")
    async def hold(request: Request, name: str) -> Response:
        return _answer(await dispatcher.act(engine.hold, name, who=_caller(request)))

    @app.post("/v1/runs/{name}/release")
    async def release(request: Request, name: str) -> Response:
        return _answer(await dispatcher.act(engine.release, name, who=_caller(request)))

    @app.post("/v1/runs/{name}/requeue")
    async def requeue(request: Request, name: str) -> Response:
        return _answer(await dispatcher.act(engine.requeue, name, who=_caller(request)))

    @app.post("/v1/runs/{name}/resize")
    async def resize(request: Request, name: str, body: ResizeBody) -> Response:
        nodes = (body.nodes_min, body.nodes_max)
        who = _caller(request)
        return _answer(await dispatcher.act(engine.resize, name, nodes=nodes, who=who))


def _add_reservations(app: FastAPI, engine: LocalEngine, dispatcher: Dispatcher) -> None:
    @app.get("/v1/reservations")
    async def reservations() -> Response:
        return _answer(await dispatcher.call(engine.reservations))

    @app.post("/v1/reservations")
    async def reserve(request: Request, body: ReservationBody) -> Response:
        asked = Reservation(**body.model_dump())
        return _answer(await dispatcher.act(engine.reserve, asked, who=_caller(request)))

    @app.post("/v1/reservations/{name}/delete")
    async def unreserve(request: Request, name: str) -> Response:
        return _answer(await dispatcher.act(engine.unreserve, name, who=_caller(request)))


def _answer(record: object, status: int = 200) -> Response:
    return Response(encode(record), status, media_type="application/json")


def _caller(request: Request) -> str:
    uid: int = request.state.peer_uid
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


async def _only_owner(request: Request) -> None:
    if request.state.peer_uid != os.getuid():
        raise NotYourDaemon(request.state.peer_uid, os.getuid())


def _same_runs(served: str) -> Callable[[Request], Awaitable[None]]:
    """A command that names another runs folder must not get answers about this one."""

    async def check(request: Request) -> None:
        wanted = request.headers.get(RUNS_HEADER)
        if wanted not in (None, served):
            raise OtherRunsFolder(str(wanted), served)

    return check


async def _until_ended(
    engine: LocalEngine, dispatcher: Dispatcher, name: str, timeout_s: float
) -> list[RunRow]:
    """The rows as soon as all have ended, or as they are after ``timeout_s``."""
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + timeout_s
    while True:
        rows = await dispatcher.call(engine.find, name)
        left_s = deadline_s - loop.time()
        if all(row.state.is_final for row in rows) or left_s <= 0 or dispatcher.closing:
            return rows
        await dispatcher.changed(min(left_s, _CHECK_S))


async def _problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, HeadraceError)
    body = {
        "code": error.code,
        "problem": error.problem,
        "why": error.why,
        "remedy": error.remedy,
        "exit_status": error.exit_status,
    }
    return _answer(body, _HTTP_STATUS.get(error.exit_status, 500))


async def _not_understood(request: Request, error: Exception) -> Response:
    return await _problem(request, RequestNotUnderstood(str(error)))
