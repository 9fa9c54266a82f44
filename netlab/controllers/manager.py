"""Which controllers there are, and how they run together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netlab.client.client import Client

if TYPE_CHECKING:
    from netlab.controllers import ControllersConfig


async def run(client: Client, config: ControllersConfig) -> None:
    """Start every chosen controller over shared informers; ends with the first that ends."""
    raise NotImplementedError
