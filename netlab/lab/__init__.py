"""The composition root: the only place that wires the parts of a lab, and the façade that users script with.

Everything here knows everybody below and decides nothing that a part could decide.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from netlab.lab.facade import Lab, Observation

__all__ = ["Lab", "Observation"]


def __getattr__(name: str) -> object:
    """Import the façade when it is asked for: labd and the components do without it."""
    if name in __all__:
        from netlab.lab import facade

        return getattr(facade, name)
    raise AttributeError(name)
