"""The cluster's DNS: Kubernetes' DNS-based service discovery 1.1, answered as CoreDNS' kubernetes plugin answers.

`zone` holds what the API says, `answers` decides (both pure), `corefile` reads the configuration, `wire` speaks
RFC 1035 through dnspython, `forward` asks others, `server` has the sockets and runs in a pod. May not be reachable but
through the lab's own network, nor know anything that the API does not say.
"""
