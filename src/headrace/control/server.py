"""The daemon's inside: engine, dispatcher and HTTP server in one event loop."""

import asyncio
import logging
import signal
import socket
from collections.abc import Callable

import uvicorn

from headrace.control.api import make_app
from headrace.control.audience import Audience
from headrace.control.dispatcher import Dispatcher
from headrace.control.peer import PeerProtocol
from headrace.control.reading import Reader
from headrace.engines.local.engine import LocalEngine

_log = logging.getLogger(__name__)
_SHUTDOWN_S = 2


async def serve(
    engine: LocalEngine, listener: socket.socket, audience: Audience, reader: Reader
) -> None:
    """Serve until asked to stop by a request or a signal, or idle for long enough.

    ``engine`` is open; it is closed after.
    Runs go on without us.
    """
    dispatcher = Dispatcher(engine)

    def stop() -> None:
        dispatcher.closing = True
        dispatcher.notify()
        server.should_exit = True

    config = uvicorn.Config(
        make_app(engine, dispatcher, audience, reader, stop),
        http=PeerProtocol,
        ws="none",
        lifespan="off",
        proxy_headers=False,
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=_SHUTDOWN_S,
    )
    server = uvicorn.Server(config)
    scheduling = asyncio.create_task(dispatcher.run())
    scheduling.add_done_callback(lambda _: stop())
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, dispatcher.wake)
    loop.add_signal_handler(signal.SIGTERM, stop)  # uvicorn raises it again when it has served
    idling = asyncio.create_task(_stop_when_idle(dispatcher, audience.idle_exit_s, stop))
    try:
        await server.serve(sockets=[listener])
    finally:
        idling.cancel()
        scheduling.cancel()
        ended, _ = await asyncio.gather(scheduling, idling, return_exceptions=True)
        dispatcher.close()
    if isinstance(ended, Exception):
        _log.error("the scheduling loop failed", exc_info=ended)
        raise ended


async def _stop_when_idle(
    dispatcher: Dispatcher, idle_s: float | None, stop: Callable[[], None]
) -> None:
    if idle_s is not None:
        await dispatcher.idle(idle_s)
        _log.info("nothing to do for %g s; the next command starts me again", idle_s)
        stop()
