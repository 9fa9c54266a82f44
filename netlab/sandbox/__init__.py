"""The sandbox: one lab's user, network, mount, PID, UTS and IPC namespaces, its PID 1, and the way in and out.

Outside the lab: `launch` makes it, `enter` runs a command in it, `destroy` ends it, `doctor` says what this machine
can do. Inside: `init` is PID 1, `zygote` its fork server, `client` speaks to it.

What it may not do: know Kubernetes, containers' semantics or the topology (those are `runtime`'s and the lab's);
import anything heavy (PID 1 is made of these modules and every container is a fork of it); touch anything of the
machine outside the namespaces it made, the lab's state directory and its runtime directory.
"""
