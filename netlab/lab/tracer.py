"""The process of a lab that makes traces: started with the first one, kept while more come, ended when idle.

A fresh interpreter with all that a trace needs costs more than the trace; labd starts one as its child and hands it
requests line by line. It ends with labd, whose death closes its standard input.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys

from netlab.api.types import Obj

IDLE = 60.0
"""Seconds without a request after which it ends: it holds 30 MB."""
PATIENCE = 60.0
"""Seconds that one trace may take besides the waiting that was asked for."""
LINE = 64 << 20


class Tracer:
    """One request at a time; the others wait."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()
        self._idle: asyncio.TimerHandle | None = None

    async def answer(self, request: Obj) -> Obj:
        """The report of `netlab.trace.session`, or {"error": …, "failed": true}."""
        async with self._turn:
            if self._idle is not None:
                self._idle.cancel()
            try:
                return await asyncio.wait_for(self._ask(request), self._patience(request))
            except TimeoutError:
                self._end()
                return {"error": f"the trace had no end after {self._patience(request):.0f} s", "failed": True}
            finally:
                self._idle = asyncio.get_running_loop().call_later(IDLE, self._end)

    @staticmethod
    def _patience(request: Obj) -> float:
        asked = float(request.get("answer") or 0) + float(request.get("live") or 0)
        return PATIENCE + asked * (1 + len(request.get("lookups") or ()))

    async def _ask(self, request: Obj) -> Obj:
        if self._process is None or self._process.returncode is not None:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "netlab.trace.session", "--serve",
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=LINE,
            )  # fmt: skip
        process = self._process
        assert process.stdin is not None and process.stdout is not None  # noqa: S101
        process.stdin.write(json.dumps(request).encode() + b"\n")
        await process.stdin.drain()
        line = await process.stdout.readline()
        if not line:
            status = await process.wait()
            self._process = None
            return {"error": f"the process that traces ended with status {status} (klab logs labd)", "failed": True}
        answer: Obj = json.loads(line)
        return answer

    def _end(self) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
        self._process = None
