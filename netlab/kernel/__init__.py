"""The only code that touches Linux networking: namespaces, netlink, iptables, nft, packet sockets, conntrack.

It applies what `netlab.dataplane` decided and reports what the kernel has; it decides nothing, knows no Kubernetes
object and never calls up. Nothing here runs at import, and pyroute2 is imported only inside functions that are off the
start-up and hot paths (importing it costs a third of a second); the hot path has its own small codec (`netlink`).
"""
