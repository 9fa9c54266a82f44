"""Keeps what is broken: injects, holds, lists and heals, in labd.

Everything is recorded before it is done, and forgotten after it is mended, so that whatever dies in between, the next
labd finds the record, makes it true again, and `heal` works. All that faults share (filters, queues, cables, what the
agents are told) is computed from all records together; healing one computes again without it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from netlab.api.types import Obj
from netlab.dataplane.model import Fdb, Neighbour
from netlab.dataplane.nodes import VXLAN_DEVICE, vtep_mac
from netlab.kernel import command
from netlab.kernel.errors import CommandFailed, KernelError, UnsupportedFeature
from netlab.lab.faults import effects as fx
from netlab.lab.faults import kernel, power, processes, records, rules
from netlab.lab.faults.kinds import KINDS, LinkFlap, NodeReboot
from netlab.lab.faults.model import Fault, FaultError, make, seconds, suggestion
from netlab.lab.faults.places import Layout
from netlab.lab.faults.records import Record
from netlab.node import told
from netlab.sandbox.client import InitClient
from netlab.sandbox.paths import LabPaths
from netlab.sandbox.spec import ProcessSpec
from netlab.topology.model import Topology

log = logging.getLogger("netlab.faults")

E = TypeVar("E")
ACKNOWLEDGE = 5.0
AGAIN = 0.25
RULES_AGAIN = 0.5
"""Seconds between two looks at what comes back by itself: killed processes, and rules that the proxy mends."""
Refused = (KernelError, CommandFailed, UnsupportedFeature, OSError)


def boot() -> str:
    """What names this run of the lab: PID 1 and when it was started."""
    started = Path("/proc/1/stat").read_text().rpartition(")")[2].split()[19]
    return f"{started}-{Path('/proc/1/ns/mnt').stat().st_ino}"


class FaultEngine:
    """One lab's. `specs` are the components that run on the first control-plane node; `spawn` starts one."""

    def __init__(self, paths: LabPaths, topology: Topology, specs: Sequence[ProcessSpec], spawn: power.Spawn) -> None:
        self._paths, self._topology = paths, topology
        self._specs, self._spawn = tuple(specs), spawn
        self._boot = boot()
        self._records: dict[str, Record] = {}
        self._effects: dict[str, tuple[fx.Effect, ...]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._flapped_in: set[str] = set()
        self._cut: set[frozenset[str]] = set()
        self._off: set[str] = set()
        self._proxies: dict[str, int] = {}
        self._lock = asyncio.Lock()
        self._resumed = False
        self._net: Any = None

    # -- what labd asks ---------------------------------------------------------------------------------------------

    async def resume(self) -> None:
        """After a start of labd: make true again what the records say. Only once, and before anything else."""
        async with self._lock:
            if not self._resumed:
                await self._resume()
                self._resumed = True

    async def _resume(self) -> None:
        found = records.load(self._paths.state, self._boot)
        if not found:
            (self._paths.state / records.FILE).unlink(missing_ok=True)
            return
        init = await InitClient.connect()
        try:
            layout = await self._layout(init)
            for record in found:
                self._records[record.id] = record
                self._effects[record.id] = ()
                with contextlib.suppress(FaultError):  # what it was about has gone
                    self._effects[record.id] = self._mean(record, layout)
            self._off = {one.node for one in self._all(fx.PowerOff)}
            self._cut = self._wanted_cuts()
            for record in found:
                with contextlib.suppress(*Refused):
                    await self._apply(init, record, self._effects[record.id])
                self._begin(record)
        finally:
            await init.close()

    async def answer(self, request: Obj) -> Obj:
        """{"do": "inject", "kind", "targets", "options", "for", "seed"} | {"do": "heal", "ids"} (none: all) |
        {"do": "list"}; {"faults": […]} or {"error", "key"}."""
        doing = {"inject": self._inject, "heal": self._heal_some, "list": self._list}.get(str(request.get("do")))
        if doing is None:
            return {"error": f"no such order about faults: {request.get('do')!r}", "key": ""}
        await self.resume()
        async with self._lock:
            init = await InitClient.connect()
            try:
                return {"faults": await doing(init, request)}
            except FaultError as error:
                return {"error": error.message, "key": error.key}
            except Refused as error:
                return {"error": str(error), "key": ""}
            finally:
                await init.close()

    async def _list(self, _: InitClient, __: Obj) -> list[Obj]:
        return [self._shown(record) for record in self._records.values()]

    def _shown(self, record: Record, state: str = "active") -> Obj:
        left = None if record.until is None else max(0.0, record.until - time.time())
        return {**record.to_obj(), "text": str(record.fault), "left": left, "state": state}

    # -- injecting --------------------------------------------------------------------------------------------------

    async def _inject(self, init: InitClient, request: Obj) -> list[Obj]:
        fault = self._read(request)
        duration = seconds(str(request["for"])) if request.get("for") else None
        if isinstance(fault, NodeReboot):
            duration = fault.down
        began = time.time()
        until = None if duration is None else began + duration
        record = Record(records.next_id(self._records.values(), fault.kind), fault, began, until, request.get("seed"))
        layout = await self._layout(init)
        meant = self._mean(record, layout)
        await asyncio.to_thread(_check_kernel, fault, meant)
        await self._check(init, layout, meant)
        if fault.once and until is None:
            await self._apply(init, record, meant)
            return [self._shown(record, "done")]
        record = replace(record, saved=await asyncio.to_thread(self._before, meant))
        self._records[record.id], self._effects[record.id] = record, meant
        self._save()
        try:
            await self._apply(init, record, meant)
        except BaseException:
            with contextlib.suppress(*Refused):
                await self._heal(init, record.id)
            raise
        self._begin(record)
        log.info("injected %s: %s", record.id, fault)
        return [self._shown(record)]

    def _read(self, request: Obj) -> Fault:
        name = str(request.get("kind"))
        if name not in KINDS:
            raise FaultError(f"no fault '{name}'; {suggestion(name, list(KINDS))}", "kind")
        return make(KINDS[name], request.get("targets") or (), request.get("options") or {})

    def _mean(self, record: Record, layout: Layout) -> tuple[fx.Effect, ...]:
        return fx.effects(record.fault, layout, record.seed, lasting=record.until is not None)

    async def _check(self, init: InitClient, layout: Layout, meant: Iterable[fx.Effect]) -> None:
        """FaultError for what is wrong already, or is not there."""
        for effect in meant:
            if isinstance(effect, fx.PowerOff) and effect.node in self._off:
                raise FaultError(f"node '{effect.node}' is off already", "targets")
            if isinstance(effect, fx.Paused) and effect.target == "labd":
                raise FaultError("labd keeps the faults: paused it could not mend; it may be killed", "targets")
            if isinstance(effect, fx.Killed | fx.Paused):
                processes.meant(await init.list(), layout, effect.target)
            if isinstance(effect, fx.WrongNeighbour):
                if any((one.netns, one.ip) == (effect.netns, effect.ip) for one in self._all(fx.WrongNeighbour)):
                    raise FaultError(f"the entry of {effect.ip} is wrong there already", "ip")
                if not await asyncio.to_thread(kernel.device_to, effect.netns, effect.ip):
                    raise FaultError(f"{effect.ip} is no neighbour there: nothing asks for its MAC address", "ip")
            if isinstance(effect, fx.WrongForwarding) and self._topology.cluster.overlay != "vxlan":
                raise FaultError("this lab's overlay has no VXLAN forwarding entries", "kind")
            if isinstance(effect, fx.WrongRule):
                await asyncio.to_thread(_rule, effect, False)

    def _before(self, meant: Iterable[fx.Effect]) -> Obj:
        """What mending must put back."""
        kept = []
        for effect in meant:
            if isinstance(effect, fx.WrongNeighbour):
                dev = kernel.device_to(effect.netns, effect.ip)
                old = kernel.neighbour(effect.netns, effect.ip)
                entry = {"netns": effect.netns, "dev": dev, "ip": effect.ip}
                kept.append({**entry, "mac": old.mac if old else "", "state": old.state if old else ""})
        return {"neighbours": kept} if kept else {}

    # -- making it so -----------------------------------------------------------------------------------------------

    async def _apply(self, init: InitClient, record: Record, meant: Sequence[fx.Effect]) -> None:
        await self._shared(init, meant)
        layout = await self._layout(init)
        for effect in meant:
            match effect:
                case fx.PowerOff():
                    control = self._specs if effect.node == self._topology.control_planes[0].name else ()
                    await power.cut(init, effect.node, list(layout.pods.values()), control)
                case fx.Killed():
                    processes.signal_all(processes.meant(await init.list(), layout, effect.target), signal.SIGKILL)
                case fx.Paused():
                    processes.signal_all(processes.meant(await init.list(), layout, effect.target), signal.SIGSTOP)
                case fx.WrongForwarding():
                    await asyncio.to_thread(self._forward, effect)
                case fx.WrongNeighbour():
                    (old,) = [one for one in record.saved["neighbours"] if one["ip"] == effect.ip
                              and one["netns"] == effect.netns]  # fmt: skip
                    await asyncio.to_thread(kernel.set_neighbour, effect, old["dev"])
                case fx.WrongRule():
                    await asyncio.to_thread(_rule, effect, True)

    def _forward(self, effect: fx.WrongForwarding, *, healed: bool = False) -> None:
        mac = vtep_mac(effect.peer)
        right = Fdb(VXLAN_DEVICE, mac, self._topology.node_ip(effect.peer))
        wanted = right if healed else Fdb(VXLAN_DEVICE, mac, effect.to) if effect.to else None
        kernel.set_forwarding(effect.node, wanted, kernel.forwarding(effect.node, mac))

    async def _shared(self, init: InitClient, touched: Sequence[fx.Effect]) -> None:
        """What is computed from all faults together, where `touched` may have changed it."""
        filters, shapes = self._all(fx.Filter), self._all(fx.Shape)
        for name in {one.netns for one in touched if isinstance(one, fx.Filter)}:
            mine = list(dict.fromkeys(one for one in filters if one.netns == name))
            await asyncio.to_thread(kernel.filter_all, name, mine)
        for name, dev in {(one.netns, one.dev) for one in touched if isinstance(one, fx.Shape)}:
            mine_too = [one for one in shapes if (one.netns, one.dev) == (name, dev)]
            own = Layout(self._topology).shaping(name, dev)
            await asyncio.to_thread(kernel.shape, name, own, mine_too)
        await self._cables()
        nodes = {one.node for one in touched if isinstance(one, fx.PowerOff | fx.WrongForwarding | fx.Skewed)}
        nodes |= {one.node for one in touched if isinstance(one, fx.WrongNeighbour) and one.node}
        await self._tell(init, nodes)

    def _all(self, kind: type[E]) -> list[E]:
        return [one for meant in self._effects.values() for one in meant if isinstance(one, kind)]

    def _wanted_cuts(self) -> set[frozenset[str]]:
        found = set()
        for key, meant in self._effects.items():
            for one in meant:
                if isinstance(one, fx.Unplugged) and key not in self._flapped_in:
                    found.add(frozenset((one.a, one.b)))
                elif isinstance(one, fx.PowerOff):
                    found |= {
                        frozenset((link.a.node, link.b.node))
                        for link in self._topology.links
                        if one.node in (link.a.node, link.b.node)
                    }
        return found

    async def _cables(self) -> None:
        """Plug and unplug what has changed; nobody else's cuts are mended."""
        wanted = self._wanted_cuts()
        changes = [(pair, False) for pair in wanted - self._cut] + [(pair, True) for pair in self._cut - wanted]
        self._cut = wanted
        if changes:
            await asyncio.to_thread(self._plug, changes)

    def _plug(self, changes: Sequence[tuple[frozenset[str], bool]]) -> None:
        from netlab.substrate import attach

        if self._net is None:
            self._net = attach(self._topology)
        for pair, up in changes:
            a, b = sorted(pair) if len(pair) == 2 else (min(pair), min(pair))
            self._net.set_link(a, b, up)

    async def _tell(self, init: InitClient, nodes: Iterable[str]) -> None:
        """Write what these nodes' agents must know, have them look, and wait until they have seen it."""
        numbers = {}
        for node in nodes:
            last = told.read(node)
            off = any(one.node == node for one in self._all(fx.PowerOff))
            entries = {Fdb(VXLAN_DEVICE, vtep_mac(one.peer), "").key for one in self._all(fx.WrongForwarding)
                       if one.node == node}  # fmt: skip
            for record in self._records.values():
                entries |= {
                    Neighbour(kept["dev"], kept["ip"], "").key
                    for kept in record.saved.get("neighbours", ())
                    if kept["netns"] == node
                }
            clock = sum(one.offset for one in self._all(fx.Skewed) if one.node == node)
            now = told.Told(last.number + 1, off, clock, frozenset(entries), self._proxies.get(node, last.proxy))
            if replace(now, number=last.number) != last:
                told.write(node, now)
                numbers[node] = now.number
            (self._off.add if off else self._off.discard)(node)
        if numbers:
            await processes.hang_up(init)
        end = time.monotonic() + ACKNOWLEDGE
        while any(told.seen(node) < number for node, number in numbers.items()):
            if time.monotonic() > end:
                log.warning("no agent has seen the faults of %s within %.0f s", ", ".join(numbers), ACKNOWLEDGE)
                return
            await asyncio.sleep(0.02)

    # -- as long as it lasts ----------------------------------------------------------------------------------------

    def _begin(self, record: Record) -> None:
        self._tasks[record.id] = asyncio.create_task(self._last(record))

    async def _last(self, record: Record) -> None:
        """Hold it, and heal it when its time is over."""
        holding = asyncio.create_task(self._hold(record))
        try:
            if record.until is None:
                await holding
                return
            await asyncio.sleep(max(0.0, record.until - time.time()))
        finally:
            holding.cancel()
            await asyncio.gather(holding, return_exceptions=True)
        self._tasks.pop(record.id, None)
        found = await self.answer({"do": "heal", "ids": [record.id]})
        if "error" in found:
            log.warning("%s: %s", record.id, found["error"])

    async def _hold(self, record: Record) -> None:
        if isinstance(record.fault, LinkFlap):
            await self._flap(record, record.fault)
        elif any(isinstance(one, fx.Killed) for one in self._effects[record.id]):
            await self._every(AGAIN, record, fx.Killed)
        elif any(isinstance(one, fx.WrongRule) for one in self._effects[record.id]):
            await self._every(RULES_AGAIN, record, fx.WrongRule)

    async def _every(self, period: float, record: Record, kind: type[fx.Killed] | type[fx.WrongRule]) -> None:
        init = await InitClient.connect()
        try:
            while True:
                await asyncio.sleep(period)
                async with self._lock:
                    mine = [one for one in self._effects.get(record.id, ()) if isinstance(one, kind)]
                    with contextlib.suppress(FaultError, *Refused):  # not there just now
                        await self._apply(init, record, mine)
        finally:
            await init.close()

    async def _flap(self, record: Record, fault: LinkFlap) -> None:
        while True:
            for length, out in fx.flapping(fault, record.seed):
                async with self._lock:
                    (self._flapped_in.discard if out else self._flapped_in.add)(record.id)
                    with contextlib.suppress(*Refused):
                        await self._cables()
                await asyncio.sleep(length)

    # -- healing ----------------------------------------------------------------------------------------------------

    async def _heal_some(self, init: InitClient, request: Obj) -> list[Obj]:
        """Those with these ids, or all. An id that was there and is not any more is fine: healed is healed."""
        wanted = request.get("ids") or list(self._records)
        for name in wanted:
            kind = name.rpartition("-")[0]
            if name not in self._records and kind not in KINDS:
                known = list(self._records)
                raise FaultError(
                    f"no fault '{name}'; {suggestion(name, known) if known else 'nothing is broken'}", "id"
                )
        healed, failed = [], []
        for name in [name for name in wanted if name in self._records]:
            record = self._records[name]
            try:
                await self._heal(init, name)
                healed.append(self._shown(record, "healed"))
            except Refused as error:
                failed.append(f"{name}: {error}")
        if failed:
            raise FaultError("; ".join(failed), "id")
        return healed

    async def _heal(self, init: InitClient, name: str) -> None:
        task = self._tasks.pop(name, None)
        if task is not None:
            task.cancel()
        record, meant = self._records[name], self._effects.get(name, ())
        off = {one.node for one in meant if isinstance(one, fx.PowerOff)}
        self._effects[name] = ()
        self._records[name] = replace(record, saved={})
        try:
            if off & {self._topology.control_planes[0].name}:
                await power.restore(init, self._specs, self._spawn)
            await self._undo(init, record, meant)
            for node in {one.node for one in meant if isinstance(one, fx.WrongRule) and not one.endpoint}:
                self._proxies[node] = told.read(node).proxy + 1
                await self._tell(init, {node})
            await self._shared(init, meant)
        except BaseException:
            self._effects[name], self._records[name] = meant, record
            self._begin(replace(record, until=None))
            raise
        del self._records[name], self._effects[name]
        self._flapped_in.discard(name)
        self._save()
        log.info("healed %s", name)

    async def _undo(self, init: InitClient, record: Record, meant: Sequence[fx.Effect]) -> None:
        layout = await self._layout(init)
        for effect in meant:
            match effect:
                case fx.Paused():
                    if all(other.target != effect.target for other in self._all(fx.Paused)):
                        with contextlib.suppress(FaultError):  # it has gone
                            found = processes.meant(await init.list(), layout, effect.target)
                            processes.signal_all(found, signal.SIGCONT)
                case fx.WrongForwarding():
                    await asyncio.to_thread(self._forward, effect, healed=True)
                case fx.WrongNeighbour():
                    for kept in record.saved.get("neighbours", ()):
                        wrong = Neighbour(kept["dev"], kept["ip"], effect.mac)
                        old = Neighbour(kept["dev"], kept["ip"], kept["mac"], kept["state"]) if kept["mac"] else None
                        await asyncio.to_thread(kernel.restore_neighbour, kept["netns"], wrong, old)
                case fx.WrongRule():
                    with contextlib.suppress(FaultError):
                        await asyncio.to_thread(_rule, effect, True, healed=True)

    # -- what there is ----------------------------------------------------------------------------------------------

    async def _layout(self, init: InitClient) -> Layout:
        return Layout(self._topology, processes.pods_of(await init.list("pod/")))

    def _save(self) -> None:
        records.save(self._paths.state, self._boot, list(self._records.values()))


def _check_kernel(fault: Fault, meant: Sequence[fx.Effect]) -> None:
    """UnsupportedFeature where this kernel cannot do it for this user."""
    from netlab.kernel.features import require

    if fault.netem:
        require("netem", f"the fault {fault.kind}")
    if any(isinstance(one, fx.Shape) and one.bandwidth_bps for one in meant):
        require("tbf", f"the fault {fault.kind}")


def _rule(effect: fx.WrongRule, do: bool, *, healed: bool = False) -> None:
    """Look at the node's rules and make the one wrong (or right again). FaultError where the Service has none there."""
    with kernel.space(effect.node) as ns:
        saved = _said(lambda: command.run(ns, ["iptables-save", "-t", "nat"]))
        how: Any = rules.iptables_heal if healed else rules.iptables
        argv = ["iptables-restore", "--noflush"]
        if "KUBE-SERVICES" not in saved:
            saved = _said(lambda: command.run(ns, ["nft", "-a", "list", "table", "ip", "kube-proxy"]))
            if not saved:
                raise FaultError("the node's proxy mode is neither iptables nor nftables", "kind")
            how, argv = rules.nftables_heal if healed else rules.nftables, ["nft", "-f", "-"]
        edit = how(saved, effect.service, effect.endpoint)
        if not healed and not effect.endpoint and not edit.text and not do:
            raise FaultError(f"there is no rule of Service '{effect.service}' with endpoints on this node", "service")
        if do and edit.text:
            command.run(ns, argv, edit.text)


def _said(run: Callable[[], str]) -> str:
    try:
        return run()
    except CommandFailed:
        return ""
