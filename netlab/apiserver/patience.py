"""How long the server waits for a client that does not finish what it began to say (slowloris, a half-sent body).

Upstream: `ReadHeaderTimeout` of 32 s (apiserver/pkg/server/secure_serving.go), and a whole request within
`--request-timeout`, one minute, which otherwise is answered with a 504 (server/filters/timeout.go).
"""

import asyncio

from netlab.api import errors
from netlab.apiserver.config import ApiServerConfig
from netlab.apiserver.transport import Connection, HttpServer
from netlab.apiserver.wire.answer import head_of
from netlab.apiserver.wire.message import error_response


def too_slow() -> errors.StatusError:
    """504 for a request that did not come in time."""
    return errors.timeout("request did not complete within the allotted timeout")


async def end_slow(http: HttpServer, config: ApiServerConfig) -> None:
    """Until cancelled: close what has been waited for too long."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(min(config.header_seconds, config.request_seconds) / 8)
        now = loop.time()
        for connection in list(http.connections):
            if isinstance(connection, Connection) and connection.waiting_since is not None:
                _judge(connection, now - connection.waiting_since, config)


def _judge(connection: Connection, waited: float, config: ApiServerConfig) -> None:
    if connection.busy or connection.stream is not None:
        return
    if not connection.in_body:
        if waited > config.header_seconds:
            connection.force_close()
    elif waited > config.request_seconds:
        found = error_response(too_slow())
        if connection.transport is not None:
            connection.transport.write(head_of(found, keep_alive=False) + found.body)
        connection.force_close()
