"""The cluster's DNS: Kubernetes' DNS-based service discovery 1.1, answered as CoreDNS 1.12 answers.

Pure: `zone` holds what the API says, `answers` decides; `corefile` and `directives` read a Corefile into `config`;
`hosts`, `rewriting` and `caching` are the plugins of those names, `wire` speaks RFC 1035, `querylog` and `counting` are
what is logged and measured. Not pure: `forward` asks others, `follow` watches the API, `chain` puts one server block's
plugins in order, `router` and `sockets` take and give bytes, `server` is all of it, `program` the process. `nodecache`
is the cache on every node. May not be reachable but through the lab's own network, nor know anything that the API does
not say.
"""
