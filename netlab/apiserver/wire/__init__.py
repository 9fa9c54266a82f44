"""PURE. The wire format: paths, content negotiation, request options, frames, responses.

Functions of strings and bytes; no socket, no event loop, no store. What a byte means is decided here, what is done
about it is decided by the operations.
"""
