"""What a request may weigh: a body that is larger is refused before it is all in memory."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

BODY_BYTES = 32 << 20


class BodyLimit:
    """ASGI: stops reading a request's body at ``BODY_BYTES``."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        taken_bytes = 0

        async def limited() -> Message:
            nonlocal taken_bytes
            message = await receive()
            taken_bytes += len(message.get("body", b""))
            if taken_bytes > BODY_BYTES:
                return {"type": "http.disconnect"}
            return message

        await self._app(scope, limited, send)
