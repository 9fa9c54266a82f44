"""A kernel that is a dictionary: the same calls as `apply` and `observe`, the same refusals, no privileges."""

from __future__ import annotations

from collections.abc import Iterable

from netlab.dataplane.model import NodeState, Plan


class FakeKernel:
    """Namespaces by name. Enforces the kernel's rules: names, masters, reachability of gateways, up and down."""

    def create(self, name: str) -> None:
        """A new namespace with a loopback device that is down. KernelError EEXIST."""
        raise NotImplementedError

    def remove(self, name: str) -> None:
        """The namespace and its devices go, and with them the other ends of its veth pairs."""
        raise NotImplementedError

    def apply(self, name: str, plan: Plan) -> None:
        """As `kernel.apply.apply`."""
        raise NotImplementedError

    def observe(self, name: str, *, sysctls: Iterable[str] = ()) -> NodeState:
        """As `kernel.observe.observe`."""
        raise NotImplementedError
