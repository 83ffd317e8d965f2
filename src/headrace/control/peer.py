"""Who is at the other end of the socket: the kernel's word, read when the connection is made.

SO_PEERCRED (unix(7)) is the uid that called connect(2); no header can change it. The application
finds it as ``request.state.peer_uid``.
"""

import asyncio
import socket
import struct

from uvicorn.protocols.http.h11_impl import H11Protocol

_UCRED = struct.Struct("3i")  # pid, uid, gid


class PeerProtocol(H11Protocol):
    """uvicorn's protocol, with the peer's uid in the scope's state."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        connection = transport.get_extra_info("socket")
        raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        self.app_state = {**self.app_state, "peer_uid": _UCRED.unpack(raw)[1]}
