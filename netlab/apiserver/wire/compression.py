"""Large answers, compressed for clients that say they take gzip. Watches never are.

As upstream's responsewriters: the token "gzip" of Accept-Encoding, more than 128 KiB, the fastest level. What takes
milliseconds is compressed off the event loop; zlib lets other threads run meanwhile.
"""

import asyncio
import zlib

from netlab.apiserver.wire.message import Request, Response

THRESHOLD = 128 << 10
LEVEL = 1
_OFF_LOOP = 512 << 10
_GZIP = 31
"""zlib's window bits for the gzip format (RFC 1952)."""


def large(found: Response) -> bool:
    """Whether compressing it is worth asking about."""
    return len(found.body) + sum(map(len, found.more)) > THRESHOLD


def takes_gzip(request: Request) -> bool:
    """Whether one of the accepted encodings is gzip, without parameters, as upstream reads the header."""
    return any(token.strip() == "gzip" for token in request.headers.get("accept-encoding", "").split(","))


async def compressed(request: Request, found: Response) -> Response:
    """The answer, with its body compressed where the client takes it so; call it for `large` ones."""
    if not takes_gzip(request) or "Content-Encoding" in found.headers:
        return found
    size = len(found.body) + sum(map(len, found.more))
    pieces = (found.body, *found.more)
    body = _gzip(pieces) if size < _OFF_LOOP else await asyncio.to_thread(_gzip, pieces)
    vary = found.headers.get("Vary")
    headers = {
        **found.headers,
        "Content-Encoding": "gzip",
        "Vary": f"{vary}, Accept-Encoding" if vary else "Accept-Encoding",
    }
    return Response(found.code, body, found.content_type, headers)


def _gzip(pieces: tuple[bytes, ...]) -> bytes:
    deflate = zlib.compressobj(LEVEL, zlib.DEFLATED, _GZIP)
    return b"".join([*map(deflate.compress, pieces), deflate.flush()])
