"""Garbage collection by ownerReferences (upstream pkg/controller/garbagecollector).

`graph` knows who owns whom and decides; `collector` watches every resource and writes.
"""
