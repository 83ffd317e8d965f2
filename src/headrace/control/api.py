"""The HTTP API of a daemon. Handlers translate, bound their waits, and decide nothing.

Answers are the records of ``headrace.engines.contract`` as JSON; an error is a problem object:
code, problem, why, remedy, exit_status.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field

from headrace import __version__
from headrace.control.audience import Audience
from headrace.control.bounds import BodyLimit
from headrace.control.dispatcher import Dispatcher
from headrace.control.errors import AdminsOnly, OtherRunsFolder, RequestNotUnderstood
from headrace.control.reading import Reader
from headrace.core.errors import HeadraceError
from headrace.core.records import encode, replace
from headrace.engines.contract import Caller, RunRow
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
    engine: LocalEngine,
    dispatcher: Dispatcher,
    audience: Audience,
    reader: Reader,
    stop: Callable[[], None],
) -> FastAPI:
    """``stop``: ends the server soon."""
    app = FastAPI(
        title="Headrace",
        version=__version__,
        dependencies=[Depends(_identify(audience)), Depends(_same_runs(audience))],
    )
    app.add_middleware(BodyLimit)
    app.add_exception_handler(HeadraceError, _problem)
    app.add_exception_handler(RequestValidationError, _not_understood)
    _add_daemon(app, engine, dispatcher, stop)
    _add_queue(app, engine, dispatcher)
    _add_questions(app, engine, dispatcher)
    _add_files(app, engine, dispatcher, reader)
    _add_acts(app, engine, dispatcher)
    _add_reservations(app, engine, dispatcher)
    return app


def _add_daemon(
    app: FastAPI, engine: LocalEngine, dispatcher: Dispatcher, stop: Callable[[], None]
) -> None:
    @app.get("/v1/daemon")
    async def daemon(request: Request) -> Response:
        site, problem = await dispatcher.call(engine.site)
        runs = await dispatcher.call(engine.runs_of, caller(request))
        told = {"pid": os.getpid(), "version": __version__, "runs": str(runs)}
        return _answer({**told, "site": site, "site_problem": problem})

    @app.post("/v1/daemon/reload")
    async def reload_site(request: Request) -> Response:
        _require_admin(request, "reload the rules")
        await dispatcher.act(engine.reload)
        return await daemon(request)

    @app.post("/v1/daemon/stop")
    async def stop_daemon(request: Request) -> Response:
        _require_admin(request, "stop the daemon")
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
            who=caller(request),
            environment=body.environment,
            script=body.script,
        )
        return _answer(submitted, 201)

    @app.post("/v1/dry-run")
    async def dry_run(request: Request, body: DryRunBody) -> Response:
        spec = read_submitted(body.job)
        return _answer(await dispatcher.call(engine.dry_run, spec, who=caller(request)))

    @app.get("/v1/runs")
    async def runs_now(request: Request, ended: bool = False) -> Response:
        return _answer(await dispatcher.call(engine.runs, ended=ended, who=caller(request)))

    @app.get("/v1/runs/{name}")
    async def find(request: Request, name: str) -> Response:
        return _answer(await dispatcher.call(engine.find, name, who=caller(request)))

    @app.get("/v1/runs/{name}/wait")
    async def wait(
        request: Request, name: str, timeout_s: Annotated[float, Query(ge=0, le=_WAIT_MAX_S)]
    ) -> Response:
        return _answer(await _until_ended(engine, dispatcher, name, caller(request), timeout_s))

    @app.get("/v1/usage")
    async def usage(request: Request) -> Response:
        return _answer(await dispatcher.call(engine.usage, who=caller(request)))

    @app.get("/v1/accounts")
    async def accounts(request: Request) -> Response:
        return _answer(await dispatcher.call(engine.shares, who=caller(request)))

    @app.get("/v1/nodes")
    async def nodes() -> Response:
        return _answer(await dispatcher.call(engine.nodes))


def _add_questions(app: FastAPI, engine: LocalEngine, dispatcher: Dispatcher) -> None:
    """What takes long is asked of a snapshot, one at a time, while the engine goes on."""
    one_at_a_time = asyncio.Semaphore(1)

    @app.get("/v1/runs/{name}/explain")
    async def explain(request: Request, name: str, sooner: bool = True) -> Response:
        who = caller(request)
        run_id = await dispatcher.call(engine.waiting, name, who=who)
        async with one_at_a_time:
            shot = await dispatcher.call(engine.snapshot)
            found = await asyncio.to_thread(shot.explain, run_id, who=who, sooner=sooner)
        return _answer(found)

    @app.get("/v1/ranking")
    async def ranking(request: Request) -> Response:
        async with one_at_a_time:
            shot = await dispatcher.call(engine.snapshot)
            found = await asyncio.to_thread(shot.ranking, who=caller(request))
        return _answer(found)


def _add_files(app: FastAPI, engine: LocalEngine, dispatcher: Dispatcher, reader: Reader) -> None:
    @app.get("/v1/runs/{name}/detail")
    async def detail(request: Request, name: str) -> Response:
        found = await dispatcher.call(engine.run, name, who=caller(request))
        told = await reader.attempts(found.run)
        return _answer(found if not told else replace(found, attempts=told))

    @app.get("/v1/runs/{name}/logs")
    async def logs(request: Request, name: str) -> Response:
        found = await dispatcher.call(engine.run, name, who=caller(request))
        return _answer((await reader.look(found.run)).logs if found.run.attempts else ())

    @app.get("/v1/runs/{name}/piece")
    async def piece(
        request: Request, name: str, path: str, offset: Annotated[int, Query(ge=0, lt=1 << 62)]
    ) -> Response:
        found = await dispatcher.call(engine.run, name, who=caller(request))
        report = await reader.look(found.run, path, offset)
        return Response(report.piece, media_type="application/octet-stream")


def _add_acts(app: FastAPI, engine: LocalEngine, dispatcher: Dispatcher) -> None:
    @app.post("/v1/runs/{name}/cancel")
    async def cancel(request: Request, name: str, body: CancelBody) -> Response:
        who = caller(request)
        return _answer(await dispatcher.act(engine.cancel, name, who=who, now=body.now))

    @app.post("/v1/runs/{name}/hold")
    async def hold(request: Request, name: str) -> Response:
        return _answer(await dispatcher.act(engine.hold, name, who=caller(request)))

    @app.post("/v1/runs/{name}/release")
    async def release(request: Request, name: str) -> Response:
        return _answer(await dispatcher.act(engine.release, name, who=caller(request)))

    @app.post("/v1/runs/{name}/requeue")
    async def requeue(request: Request, name: str) -> Response:
        return _answer(await dispatcher.act(engine.requeue, name, who=caller(request)))

    @app.post("/v1/runs/{name}/resize")
    async def resize(request: Request, name: str, body: ResizeBody) -> Response:
        nodes = (body.nodes_min, body.nodes_max)
        who = caller(request)
        return _answer(await dispatcher.act(engine.resize, name, nodes=nodes, who=who))


def _add_reservations(app: FastAPI, engine: LocalEngine, dispatcher: Dispatcher) -> None:
    @app.get("/v1/reservations")
    async def reservations() -> Response:
        return _answer(await dispatcher.call(engine.reservations))

    @app.post("/v1/reservations")
    async def reserve(request: Request, body: ReservationBody) -> Response:
        _require_admin(request, "reserve nodes")
        asked = Reservation(**body.model_dump())
        return _answer(await dispatcher.act(engine.reserve, asked, who=caller(request)))

    @app.post("/v1/reservations/{name}/delete")
    async def unreserve(request: Request, name: str) -> Response:
        _require_admin(request, "reserve nodes")
        return _answer(await dispatcher.act(engine.unreserve, name, who=caller(request)))


def _answer(record: object, status: int = 200) -> Response:
    return Response(encode(record), status, media_type="application/json")


def caller(request: Request) -> Caller:
    """Who asks: what ``_identify`` made of the kernel's word; headers and body have no say."""
    found: Caller = request.state.caller
    return found


def _identify(audience: Audience) -> Callable[[Request], Awaitable[None]]:
    async def identify(request: Request) -> None:
        request.state.caller = await asyncio.to_thread(audience.caller, request.state.peer_uid)

    return identify


def _require_admin(request: Request, what: str) -> None:
    if not caller(request).admin:
        raise AdminsOnly(caller(request).name, what)


def _same_runs(audience: Audience) -> Callable[[Request], Awaitable[None]]:
    """A command that names another runs folder must not get answers about this one."""

    async def check(request: Request) -> None:
        wanted, served = request.headers.get(RUNS_HEADER), audience.runs
        if served is not None and wanted not in (None, str(served)):
            raise OtherRunsFolder(str(wanted), str(served))

    return check


async def _until_ended(
    engine: LocalEngine, dispatcher: Dispatcher, name: str, who: Caller, timeout_s: float
) -> list[RunRow]:
    """The rows as soon as all have ended, or as they are after ``timeout_s``."""
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + timeout_s
    while True:
        rows = await dispatcher.call(engine.find, name, who=who)
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
