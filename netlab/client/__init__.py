"""Everything that talks to the Kubernetes API as a client: verbs, watches, informers, queues, events, leases.

Verbs go over an injected `Transport`; the one over sockets opens them through a factory, so that a node's connections
start in that node's network namespace. May not: know the API server's insides, the store, or the kernel.
"""
