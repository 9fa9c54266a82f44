"""The network a node should have, as frozen data: computed here, applied by `netlab.kernel`, walked by the trace.

Every object prints as the command a person would type (`ip`, `bridge`, `sysctl`, `iptables-save` text), so the same
data serves the dry run, the golden tests, the trace and teaching. Pure: no socket, no process, no clock, no look at
the machine; what the machine can do is passed in.
"""
