"""Streaming protocols of the kubelet API: SPDY/3.1, WebSocket channels, and the sessions that run over both.

Bytes in, frames out: nothing here knows pods. May not import the kubelet.
"""
