"""Addresses and ports of Services: handed out from ranges, kept by the Services themselves.

There is no second book: what is taken is what the stored Services say, read at the start (which is the repair) and
kept up to date with every write. Source followed: pkg/registry/core/service (ipallocator, portallocator, storage).
"""

from netlab.apiserver.allocation.service import Allocation

__all__ = ["Allocation"]
