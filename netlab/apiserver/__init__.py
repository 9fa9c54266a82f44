"""The Kubernetes API on the wire: real HTTPS, real semantics, one file per operation.

Wire format, routing and discovery are pure functions of bytes and values; `server.py` alone owns sockets. Every kind of
`netlab.api.resources` is served by the same generic operations; what differs between kinds is data or a hook of
`netlab.api` (defaults, validation, strategy). It may not act on objects as a controller would, and nothing else may
reach the store: components are clients of this API like anyone else.

Use: `await serve(ApiServerConfig(state_dir=…, listen=(("127.0.0.1", 6443),)), ready=…)`; `python -m netlab.apiserver`
for development.
"""
