"""A Kubernetes cluster's whole network, emulated on one Linux machine with the real kernel data plane."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from netlab.lab.facade import Lab

__all__ = ["Lab", "__version__"]
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    if name == "Lab":
        from netlab.lab.facade import Lab

        return Lab
    raise AttributeError(name)
