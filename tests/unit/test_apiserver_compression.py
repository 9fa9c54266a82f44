"""gzip of large answers: who gets it, who does not, and that it is the same answer."""

import zlib
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest
from apiserver_harness import CMS, Harness, config_map, harness

from netlab.apiserver.wire.compression import THRESHOLD
from netlab.apiserver.wire.message import Response


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Harness]:
    async with harness(tmp_path) as made:
        await made.ok("POST", CMS, config_map("small", text="x"))
        for number in range(6):
            await made.ok("POST", CMS, config_map(f"large-{number}", text="0123456789abcdef" * (THRESHOLD >> 4)))
        yield made


async def ask(server: Harness, url: str, encoding: str, **headers: str) -> Response:
    found = await server.raw("GET", url, headers={"accept-encoding": encoding, **headers})
    assert isinstance(found, Response) and found.code == 200
    return found


@pytest.mark.parametrize(
    ("url", "encoding", "wanted"),
    [
        (f"{CMS}/large-0", "gzip", True),
        (CMS, "deflate, gzip", True),
        (f"{CMS}?limit=3", "gzip", True),
        (f"{CMS}/small", "gzip", False),
        (CMS, "", False),
        (CMS, "identity", False),
        (CMS, "gzip;q=0.5", False),
        (CMS, "br,x-gzip", False),
    ],
)
async def test_who_gets_gzip(server: Harness, url: str, encoding: str, wanted: bool) -> None:
    plain, found = await ask(server, url, ""), await ask(server, url, encoding)
    assert ("Content-Encoding" in found.headers) is wanted
    if not wanted:
        assert found.text == plain.text and "Vary" not in found.headers
        return
    assert found.headers["Content-Encoding"] == "gzip" and found.headers["Vary"] == "Accept-Encoding"
    assert len(found.text) < len(plain.text) / 4
    unpacked = orjson.loads(zlib.decompress(found.text, 31))
    assert unpacked == orjson.loads(plain.text)


async def test_tables_and_documents_too(server: Harness) -> None:
    table = "application/json;as=Table;v=v1;g=meta.k8s.io"
    found = await ask(server, f"{CMS}?includeObject=Object", "gzip", accept=table)
    assert orjson.loads(zlib.decompress(found.text, 31))["kind"] == "Table"
    found = await ask(server, "/openapi/v2", "gzip", accept="application/json")
    assert found.headers["Vary"] == "Accept, Accept-Encoding" and "Etag" in found.headers
    assert orjson.loads(zlib.decompress(found.text, 31))["swagger"] == "2.0"
