"""Upstream's sample API server (staging/src/k8s.io/sample-apiserver): what an aggregated API is tried out with.

Pure kinds in `objects`, where they are kept in `keeping` (an etcd, by its JSON gateway), sockets in `server`.
"""
