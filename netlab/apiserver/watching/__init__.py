"""Telling changes to many watchers at the price of one.

Each event is serialised once per representation; watchers that ask for the same thing share a channel, and a channel's
bytes for one commit are made once and written to every sink. Channels that name a namespace, an object or a node are
found by look-up, so that a change costs nothing for those whom it cannot concern. It knows no sockets: a sink is
anything with `write`, `buffered`, `closed` and `abort`.
"""

from netlab.apiserver.watching.channel import Channel, Frames
from netlab.apiserver.watching.hub import Hub, Hubs

__all__ = ["Channel", "Frames", "Hub", "Hubs"]
