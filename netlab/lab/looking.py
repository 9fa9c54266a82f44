"""Looking into a running lab from outside: the API's objects, and what programs inside print."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO

from netlab.api.types import Obj
from netlab.lab.record import LabError
from netlab.sandbox.paths import LabPaths

TIMEOUT = 15.0

Resource = tuple[str, str]
"""(apiVersion, plural)"""


def objects(paths: LabPaths, *resources: Resource, timeout: float = TIMEOUT) -> list[list[Obj]]:
    """All objects of each resource, over the lab's own API as its administrator. LabError where it does not answer."""
    try:
        return asyncio.run(_objects(paths, resources, timeout))
    except TimeoutError:
        raise LabError(f"the API server of lab '{paths.name}' did not answer within {timeout:.0f} s") from None
    except OSError as error:
        raise LabError(f"the API server of lab '{paths.name}' does not answer: {error}") from None


async def _objects(paths: LabPaths, resources: Sequence[Resource], timeout: float) -> list[list[Obj]]:
    from netlab.api.version import user_agent
    from netlab.client.client import Client
    from netlab.client.kubeconfig import load
    from netlab.client.transport import HttpTransport

    client = Client(HttpTransport(*load(paths.kubeconfig), user_agent=user_agent("klab")))
    try:
        async with asyncio.timeout(timeout):
            lists = await asyncio.gather(*(client.list(resource) for resource in resources))
    finally:
        await client.close()
    return [list(found["items"]) for found in lists]


@contextmanager
def lines(paths: LabPaths, argv: Sequence[str], netns: str | None = None) -> Iterator[Iterator[str]]:
    """The lines that a command prints inside the lab. Its standard input ends with the block; it is waited for.

    LabError with its last words where its exit status is not 0 and the block read to the end.
    """
    from netlab.sandbox.enter import enter

    (out_r, out_w), (in_r, in_w), (err_r, err_w) = os.pipe(), os.pipe(), os.pipe()
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        try:
            for old, new in ((in_r, 0), (out_w, 1), (err_w, 2)):
                os.dup2(old, new)
            os.closerange(3, 64)
            os._exit(enter(paths, argv, netns=netns))
        except BaseException as error:
            os.write(2, str(error).encode())
        os._exit(1)
    for fd in (out_w, in_r, err_w):
        os.close(fd)
    with os.fdopen(out_r) as stream, os.fdopen(err_r) as complaint:
        try:
            yield _until_end(stream)
        finally:
            os.close(in_w)
        rest, words = stream.read(), complaint.read().strip()
    _, status = os.waitpid(pid, 0)
    if status and not rest:
        code = os.waitstatus_to_exitcode(status)
        raise LabError(f"{' '.join(argv)}: {_last(words) or f'exit status {code}'}")


def _last(words: str) -> str:
    """What a program says in the end; nft says it first, and then points at it."""
    said = words.splitlines()
    return next((line for line in said if line.startswith("Error: ")), said[-1] if said else "").removeprefix("Error: ")


def _until_end(stream: IO[str]) -> Iterator[str]:
    yield from stream


def text(paths: LabPaths, argv: Sequence[str], netns: str | None = None) -> str:
    """All that a command prints."""
    with lines(paths, argv, netns) as found:
        return "".join(found)


@contextmanager
def tables(paths: LabPaths, what: str, nodes: Sequence[str]) -> Iterator[Iterator[Obj]]:
    """What `netlab.kernel.tables` prints of these nodes."""
    with lines(paths, [sys.executable, "-m", "netlab.kernel.tables", what, *nodes]) as found:
        yield (json.loads(line) for line in found)
