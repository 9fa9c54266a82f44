"""Leader election by Lease, as client-go's leaderelection."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from netlab.api.timing import LAB, Timing
from netlab.client.client import Client


async def run_as_leader(
    client: Client,
    name: str,
    identity: str,
    lead: Callable[[], Awaitable[None]],
    *,
    namespace: str = "kube-system",
    timing: Timing = LAB,
    adopt: bool = False,
) -> None:
    """Hold Lease `name` and run `lead` while holding it; ends when `lead` ends or the lease is lost (RuntimeError).

    With `adopt` a lease held by somebody else is taken at once: the only control plane of a lab need not wait.
    """
    raise NotImplementedError
