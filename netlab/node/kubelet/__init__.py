"""The kubelet: turns the pods bound to one node into sandboxes, containers and an honest status.

Level-based: a pod worker is told only that something about its pod changed, reads the world (API object, runtime
state, probe results), acts, and publishes the status if it differs. Whatever decides is a pure function of dicts
(`actions`, `status`, `admission`, `environment`, `files`); only `worker`, `volumes`, `prober` and `server` do things.
"""
