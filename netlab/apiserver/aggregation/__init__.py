"""APIServices: which groups other servers serve, whether they can, and how requests reach them (kube-aggregator).

May not: know what such a server is; it is found by its Service, spoken to over TLS, and believed what it answers.
"""
