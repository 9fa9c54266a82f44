"""The metrics server: scrapes every kubelet, keeps the last two readings, and serves metrics.k8s.io/v1beta1.

It runs in a pod behind a Service, and the API server sends it the requests for its group: nothing else knows it.
May not: read /proc or control groups; what a node measures only its kubelet says.
"""
