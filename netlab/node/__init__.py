"""Node agents: what runs on every node of a cluster — registration and heartbeats, kubelet, overlay, service proxy.

One process hosts many nodes on one event loop; everything a node says on the network (API client, kubelet listener,
probes, port forwards) goes through sockets that were opened in that node's own network namespace, so it crosses the
emulated underlay and dies with the node's cable.

May use: `client`, `kernel`, `runtime`, `dataplane`, `api`. May not: touch netlink itself, know the store or the other
control-plane parts, or keep state that cannot be rebuilt from the API, the runtime's list and the kernel.
"""
