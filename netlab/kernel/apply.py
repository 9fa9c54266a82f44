"""Does what a plan says, in one namespace, in few system calls.

Consecutive requests are sent as one batch; the batch is cut only where a request needs the index of an interface that
the batch itself creates. Every step is tried, whatever became of the others: a level-based caller repeats the rest.
"""

from __future__ import annotations

import errno
from functools import partial

from netlab.dataplane.model import Address, Fdb, Link, Neighbour, Plan, Route, Step, Sysctl
from netlab.kernel import addresses, links, neighbours, routes
from netlab.kernel import netns as namespaces
from netlab.kernel.errors import KernelError
from netlab.kernel.netns import NetNs

GONE = frozenset({errno.ENOENT, errno.ESRCH, errno.ENODEV, errno.EADDRNOTAVAIL})
"""What the kernel answers to the deletion of something that is not there."""


class PartlyApplied(KernelError):  # noqa: N818
    """Some steps were refused. `failures` has each of them with the kernel's answer; the others are done."""

    def __init__(self, failures: list[tuple[Step, KernelError]]) -> None:
        self.failures = failures
        step, first = failures[0]
        more = f"; {len(failures) - 1} more steps failed" if len(failures) > 1 else ""
        command = "; ".join(step.commands())
        super().__init__(first.errno or errno.EIO, command, f"{first.detail}{more}".lstrip("; "))


def apply(ns: NetNs, plan: Plan) -> None:
    """Do every step of `plan`.

    Deleting what is gone is no error, nor is adding an address, neighbour or forwarding entry that is there. Adding a
    link or a route whose key exists is (EEXIST). Raises PartlyApplied, after all steps were tried.
    """
    work = _Application(ns)
    for step in plan.steps:
        work.do(step)
    work.flush()
    if work.failures:
        raise PartlyApplied(work.failures)


class _Application:
    def __init__(self, ns: NetNs) -> None:
        self.ns = ns
        self.failures: list[tuple[Step, KernelError]] = []
        self._indexes: dict[str, int] = {}
        self._pending: list[tuple[Step, bytes]] = []
        self._new: set[str] = set()

    def do(self, step: Step) -> None:
        try:
            if isinstance(step.object, Sysctl):
                self._sysctl(step.object)
            else:
                requests = self._requests(step)  # may flush what is pending
                self._pending += [(step, request) for request in requests]
        except KernelError as problem:
            if not (step.op == "del" and problem.errno in GONE):
                self.failures.append((step, problem))
        if isinstance(step.object, Link) and step.op != "change":
            self._indexes.pop(step.object.name, None)
            self._new.add(step.object.name)

    def _requests(self, step: Step) -> list[bytes]:
        obj, index = step.object, self._index
        match obj:
            case Link():
                return self._link(step, obj)
            case Address():
                return [addresses.delete(obj, index) if step.op == "del" else addresses.add(obj, index)]
            case Route():
                return [routes.request(step.op, obj, index)]
            case Neighbour():
                return [neighbours.delete(obj, index) if step.op == "del" else neighbours.add(obj, index)]
            case Fdb():
                return [neighbours.delete_fdb(obj, index) if step.op == "del" else neighbours.add_fdb(obj, index)]
            case _:
                raise AssertionError(obj)

    def _link(self, step: Step, link: Link) -> list[bytes]:
        if step.op == "del":
            return [links.delete(link.name)]
        if step.op == "change":
            old = step.old if isinstance(step.old, Link) else Link(link.name, link.kind, up=not link.up)
            return links.change(link, old, self._index)
        if link.kind in ("device", "loopback"):
            raise KernelError(errno.EOPNOTSUPP, f"link {link.name}", f"a {link.kind} cannot be created")
        if link.peer is None or not link.peer[0]:
            return links.add(link, self._index)
        with namespaces.open(link.peer[0]) as peer:
            self.flush()  # now, while the peer's namespace is held open: the message names its descriptor
            self._send([(step, request) for request in links.add(link, self._index, peer_fd=peer.fd)])
        return []

    def _index(self, name: str) -> int:
        if name not in self._indexes:
            if name in self._new:
                self.flush()
            self._indexes[name] = links.index_of(self.ns.netlink.get(links.get(name), f"link {name}"))
        return self._indexes[name]

    def _sysctl(self, sysctl: Sysctl) -> None:
        try:
            self.ns.run(partial(namespaces.write_proc, f"/proc/sys/{sysctl.path}", sysctl.value))
        except OSError as problem:
            if not (sysctl.optional and problem.errno == errno.ENOENT):
                raise KernelError(problem.errno or errno.EIO, f"sysctl {sysctl.name}") from problem

    def flush(self) -> None:
        pending, self._pending = self._pending, []
        self._new.clear()
        self._send(pending)

    def _send(self, pending: list[tuple[Step, bytes]]) -> None:
        if not pending:
            return
        for refusal in self.ns.netlink.send([request for _, request in pending]):
            step = pending[refusal.index][0]
            if not (step.op == "del" and refusal.errno in GONE):
                self.failures.append((step, refusal))
