"""labd: builds the underlay, has the components started, and answers `klab`.

It keeps nothing that cannot be learnt again: when it is killed PID 1 starts it anew, it finds the namespaces by their
names and the components in PID 1's list, and goes on. It imports nothing heavy, so that it works on the underlay while
the zygote is still importing what the control plane needs.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from netlab.api.types import Obj
from netlab.lab.bus import LAB_SOCKET, REPORTS
from netlab.lab.components import agent_count, specs
from netlab.lab.progress import Progress
from netlab.lab.record import LabError, load_record, no_space
from netlab.sandbox.client import InitClient, inherited_fds
from netlab.sandbox.paths import LabPaths
from netlab.sandbox.spec import AlreadyExists, ExitEvent, ProcessSpec
from netlab.topology import load
from netlab.topology.model import Topology

if TYPE_CHECKING:
    from netlab.lab.faults.engine import FaultEngine
    from netlab.lab.tracer import Tracer

log = logging.getLogger("netlab.labd")

OWN_ID = "component/labd"
ADDONS_ID = "component/addons"
FAULTS = "faults.json"
ENDS_MAX = 4
"""So often may a component end while the lab starts: with PID 1's back-off that is a good second."""
LINE = 16 << 20
"""The longest request: a trace's names every pod and Service."""
AFTER_START = 2.0
"""Seconds from a lab's readiness to what nobody waits for."""


def main(name: str, state: str, runtime: str, upstream_timing: bool, began: float) -> None:
    """labd until the lab ends."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    paths = LabPaths(name, Path(state), Path(runtime))
    asyncio.run(Labd(paths, upstream_timing, began).run())


class Labd:
    """One lab's daemon. `began`: time.monotonic() at the call of `klab up`."""

    def __init__(self, paths: LabPaths, upstream_timing: bool, began: float) -> None:
        self.paths = paths
        self.topology: Topology = load(paths.topology)
        self.upstream_timing = upstream_timing
        record = load_record(paths)
        self.without = record.without if record is not None else ()
        self.progress = Progress(began)
        self._changed = asyncio.Condition()
        self._reports: dict[str, asyncio.Event] = {}
        self._faults: FaultEngine | None = None
        self._tracer: Tracer | None = None

    async def run(self) -> None:
        """Serve for ever; a start that fails is reported to whoever asks, and ends nothing by itself."""
        self.progress.end("sandbox")
        for report in REPORTS.iterdir() if REPORTS.is_dir() else ():
            self._reports.setdefault(report.name, asyncio.Event()).set()
        await self._serve()
        try:
            await self._start()
        except Exception as error:
            log.exception("start failed")
            self.progress.state, self.progress.error = "failed", str(error) or type(error).__name__
        await self._tell()
        if (self.paths.state / FAULTS).exists():  # labd was started again while something was broken
            try:
                await self._fault_engine().resume()
            except Exception:
                log.exception("faults are not held any more")
        if self.progress.state == "ready":
            await self._keep_cables()
        await asyncio.Event().wait()

    async def _keep_cables(self) -> None:
        """What an interface that goes down loses comes back with it. Nobody waits for this while a lab starts."""
        await asyncio.sleep(AFTER_START)
        from netlab.substrate import comeback

        try:
            await comeback.keep(self.topology)
        except Exception:
            log.exception("interfaces that go down are not looked after any more")

    # the start

    async def _start(self) -> None:
        """Bring the lab up; a component that keeps ending fails the start instead of its time-out."""
        init = await InitClient.connect()
        ended = await init.subscribe("component/")
        watch = asyncio.create_task(self._watch_ends(init, ended))
        bring = asyncio.create_task(self._bring_up(init))
        await asyncio.wait((watch, bring), return_when=asyncio.FIRST_COMPLETED)
        first = bring if bring.done() else watch
        (watch if first is bring else bring).cancel()
        await first

    async def _watch_ends(self, init: InitClient, ended: asyncio.Queue[ExitEvent | None]) -> None:
        """Raises LabError when one component has ended too often. The add-ons' one ends when all is well: PID 1 does
        not start it again, so that is done here should it have failed."""
        ends: Counter[str] = Counter()
        while (event := await ended.get()) is not None:
            ends[event.id] += 1
            if ends[event.id] >= ENDS_MAX:
                name = event.id.partition("/")[2]
                raise LabError(f"{name} ended {ENDS_MAX} times: {self._last_words(name)} (klab logs {name})")
            if event.id == ADDONS_ID and event.exit.status:
                log.warning("addons ended (%s); again", event.exit)
                await init.forget(ADDONS_ID)
                *_, addons = specs(self.paths, self.topology, self.upstream_timing, self.without)
                await self._spawn(init, addons)

    def _last_words(self, component: str) -> str:
        if full := no_space(self.paths):
            return full
        try:
            lines = (self.paths.logs / f"{component}.log").read_text(errors="replace").strip().splitlines()
        except OSError:
            lines = []
        return lines[-1].strip() if lines else "it said nothing"

    async def _bring_up(self, init: InitClient) -> None:
        for process in await init.list(ADDONS_ID):
            if process.exit is not None and process.exit.status:
                await init.forget(process.id)
        await asyncio.to_thread(self._underlay)
        await self._end("substrate")
        apiserver, *others = specs(self.paths, self.topology, self.upstream_timing, self.without)
        await self._spawn(init, apiserver)
        await self._phase("apiserver")  # it has written the others' credentials
        await asyncio.gather(*(self._spawn(init, spec) for spec in others))
        agents = agent_count(len(self.topology.nodes))
        await asyncio.gather(*(self._reported(f"agent-{index}") for index in range(agents)))
        await self._end("components")
        proxies = [f"proxies-{index}" for index in range(agents)]
        await asyncio.gather(self._phase("nodes"), self._phase("proxies", proxies), self._phase("addons"))

    def _underlay(self) -> None:
        from netlab.kernel.alternatives import prefer_iptables
        from netlab.kernel.iptables import default_backend
        from netlab.substrate import build

        build(self.topology)
        prefer_iptables(default_backend())

    async def _spawn(self, init: InitClient, spec: ProcessSpec) -> None:
        try:
            await init.spawn(spec)
        except AlreadyExists:
            log.info("%s runs already", spec.id)

    async def _phase(self, name: str, components: Sequence[str] = ()) -> None:
        """Ends when all of these have reported; without any, the one that is named like the phase."""
        await asyncio.gather(*(self._reported(component) for component in components or (name,)))
        await self._end(name)

    async def _reported(self, component: str) -> None:
        await self._reports.setdefault(component, asyncio.Event()).wait()

    async def _end(self, phase: str) -> None:
        self.progress.end(phase)
        await self._tell()

    async def _tell(self) -> None:
        if self.progress.state == "starting" and self.progress.complete:
            self.progress.state = "ready"
        async with self._changed:
            self._changed.notify_all()

    # the sockets

    async def _serve(self) -> None:
        LAB_SOCKET.parent.mkdir(parents=True, exist_ok=True)
        LAB_SOCKET.unlink(missing_ok=True)
        await asyncio.start_unix_server(self._answer, LAB_SOCKET, limit=LINE)
        import socket

        for descriptor in inherited_fds("control"):
            await asyncio.start_unix_server(self._answer, sock=socket.socket(fileno=descriptor), limit=LINE)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            line = await asyncio.wait_for(reader.readline(), 10)
            request = json.loads(line) if line.strip() else {}
            operation = getattr(self, f"_op_{request.get('op')}", None)
            if operation is None:
                await _send(writer, {"error": f"no operation {request.get('op')!r}"})
            else:
                await operation(request, writer)
        except (ConnectionError, TimeoutError, ValueError) as error:
            log.debug("a caller went away: %s", error)
        finally:
            writer.close()

    async def _op_report(self, request: Obj, writer: asyncio.StreamWriter) -> None:
        self._reports.setdefault(str(request["component"]), asyncio.Event()).set()
        await _send(writer, {"ok": True})

    async def _op_progress(self, request: Obj, writer: asyncio.StreamWriter) -> None:
        """A line for every change, until the lab is ready or has failed."""
        while True:
            await _send(writer, self.progress.to_obj())
            if self.progress.state != "starting":
                return
            async with self._changed:
                await self._changed.wait()

    async def _op_proxy_mode(self, request: Obj, writer: asyncio.StreamWriter) -> None:
        from netlab.lab import proxymodes

        await _send(writer, await proxymodes.answer(self.paths, self.topology, request))

    async def _op_trace(self, request: Obj, writer: asyncio.StreamWriter) -> None:
        if self._tracer is None:
            from netlab.lab.tracer import Tracer

            self._tracer = Tracer()
        await _send(writer, await self._tracer.answer(request["request"]))

    def _fault_engine(self) -> FaultEngine:
        """Made when something is broken for the first time."""
        if self._faults is None:
            from netlab.lab.faults.engine import FaultEngine

            every = specs(self.paths, self.topology, self.upstream_timing, self.without)
            components = [one for one in every if one.id != ADDONS_ID and "net" in one.join]
            self._faults = FaultEngine(self.paths, self.topology, components, self._spawn)
        return self._faults

    async def _op_fault(self, request: Obj, writer: asyncio.StreamWriter) -> None:
        await _send(writer, await self._fault_engine().answer(request))

    async def _op_status(self, request: Obj, writer: asyncio.StreamWriter) -> None:
        init = await InitClient.connect()
        processes = await init.list()
        await init.close()
        await _send(writer, {**self.progress.to_obj(), "processes": [asdict(process) for process in processes]})


async def _send(writer: asyncio.StreamWriter, obj: Obj) -> None:
    writer.write(json.dumps(obj).encode() + b"\n")
    await writer.drain()
