"""The only file with sockets: TLS, listening, HTTP by aiohttp, and an orderly end."""

from collections.abc import Callable

from netlab.apiserver.config import ApiServerConfig


async def serve(config: ApiServerConfig, *, ready: Callable[[], None]) -> None:
    """Serve the API until cancelled or told to end by SIGTERM; `ready` is called once requests are answered.

    Makes the PKI, the store and the system objects where they are missing. Raises OSError when an address is taken.
    """
    raise NotImplementedError
