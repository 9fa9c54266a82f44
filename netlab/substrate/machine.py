"""Mininet's nodes without a process: a namespace that is there, a shell that comes when somebody asks for one.

A stock Mininet node is a bash on a pty inside a namespace that `mnexec` made (20 ms and 3 MB each). Here the namespace
is made or adopted by netlink and the bash is started by the first `cmd()`. Everything that Mininet does with `ifconfig`
and `route` in that bash is done by netlink instead; what a user types goes to the bash as ever.
"""

# ruff: noqa: N802, N803, N815 — Mininet's names

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
from typing import Any

from netlab.dataplane.model import Neighbour, Plan, Route, Step
from netlab.kernel import netns
from netlab.kernel.apply import apply
from netlab.kernel.netns import NetNs
from netlab.substrate.mn import Host, Node, error

PROMPT = chr(127)


class LazyShell(Node):  # type: ignore[misc]
    """A node whose shell starts when it is needed. `ns` is its namespace; `owned`: stopping the node removes it.

    The registries of pipes are this class's own: Mininet keeps one for all nodes of the process.
    """

    inToNode: dict[int, Any] = {}  # noqa: RUF012
    outToNode: dict[int, Any] = {}  # noqa: RUF012
    isSetup = True  # Mininet would look for mnexec and ifconfig, and exit(1) without them
    ns: NetNs
    owned = False
    shell: subprocess.Popen[bytes] | None

    def startShell(self, mnopts: str | None = None) -> None:
        """Called by Mininet's constructor: only the namespace is made sure of."""
        if self.inNamespace and "ns" not in self.__dict__:
            self.ns, made = netns.ensure(self.name)
            self.owned = made

    def open_shell(self) -> None:
        """Start the bash, as Mininet's startShell does, if it does not run yet."""
        if self.shell is not None:
            return
        self.master, self.slave = pty.openpty()
        argv = [
            "setsid",
            "--ctty",
            "env",
            f"PS1={PROMPT}",
            "bash",
            "--norc",
            "--noediting",
            "-is",
            f"mininet:{self.name}",
        ]
        shell = self._popen(argv, stdin=self.slave, stdout=self.slave, stderr=self.slave)
        self.shell = shell
        self.stdin = self.stdout = os.fdopen(self.master, "r")
        self.pid = shell.pid
        self.pollOut = select.poll()
        self.pollOut.register(self.stdout)
        self.outToNode[self.stdout.fileno()] = self.inToNode[self.stdin.fileno()] = self
        self.execed = False
        self.lastCmd = self.lastPid = None
        self.readbuf = ""
        while not self.read(1024).endswith(PROMPT):
            self.pollOut.poll()
        self.waiting = False
        self.cmd("unset HISTFILE; stty -echo; set +m")

    def _popen(self, cmd: list[str], **params: Any) -> subprocess.Popen[bytes]:
        return self.ns.popen(cmd, **params)

    def popen(self, *args: Any, **kwargs: Any) -> subprocess.Popen[bytes]:
        """A process in the node's namespace; no shell and no mnexec in between."""
        kwargs.setdefault("mncmd", [])
        return super().popen(*args, **kwargs)  # type: ignore[no-any-return]

    def cmd(self, *args: Any, **kwargs: Any) -> str:
        self.open_shell()
        return super().cmd(*args, **kwargs)  # type: ignore[no-any-return]

    def sendCmd(self, *args: Any, **kwargs: Any) -> None:
        self.open_shell()
        super().sendCmd(*args, **kwargs)

    def terminate(self) -> None:
        """End the shell, if any; remove the namespace, if it is ours to remove."""
        if self.shell is not None:
            self.unmountPrivateDirs()
            if self.shell.poll() is None:
                os.killpg(self.shell.pid, signal.SIGHUP)
            self.outToNode.pop(self.stdout.fileno(), None)
            self.inToNode.pop(self.stdin.fileno(), None)
            self.cleanup()
        if self.owned:
            netns.remove(self.name)
            self.owned = False
        self.ns.close()

    def mountPrivateDirs(self) -> None:
        if self.privateDirs:
            super().mountPrivateDirs()

    # what Mininet does by ifconfig, route and arp

    def do(self, step: Step) -> str:
        """One step in this namespace; Mininet reports problems as the output of a command."""
        try:
            apply(self.ns, Plan((step,)))
        except OSError as problem:
            return f"{problem}\n"
        return ""

    def config(
        self, mac: str | None = None, ip: str | None = None, defaultRoute: str | None = None, lo: str = "up", **_: Any
    ) -> dict[str, Any]:
        """For nodes added by hand; a topology's machines are configured in one go."""
        result: dict[str, Any] = {}
        self.setParam(result, "setMAC", mac=mac)
        self.setParam(result, "setIP", ip=ip)
        self.setParam(result, "setDefaultRoute", defaultRoute=defaultRoute)
        return result

    def setARP(self, ip: str, mac: str) -> str:
        return self.do(Step("add", Neighbour(self.defaultIntf().name, ip, mac), "setARP"))

    def setHostRoute(self, ip: str, intf: Any) -> str:
        return self.do(Step("change", Route(f"{ip}/32", str(intf)), "setHostRoute"))

    def setDefaultRoute(self, intf: Any = None) -> str:
        """`intf`: an interface or its name, or words as of `ip route` ("via 10.0.0.1", "dev eth0 via 10.0.0.1")."""
        words = str(intf).split()
        named = dict(zip(words[::2], words[1::2], strict=False)) if len(words) > 1 else {"dev": str(intf)}
        unknown = set(named) - {"via", "dev"}
        if unknown:
            error(f"setDefaultRoute: {sorted(unknown)} is not understood, only via and dev\n")
        return self.do(Step("change", Route("default", named.get("dev", ""), via=named.get("via")), "setDefaultRoute"))


class Machine(LazyShell, Host):  # type: ignore[misc]
    """A node, host or router of the topology."""

    def __init__(self, name: str, ns: NetNs | None = None, owned: bool = False, **params: Any) -> None:
        if ns is not None:
            self.ns = ns
            self.owned = owned
        super().__init__(name, **params)
