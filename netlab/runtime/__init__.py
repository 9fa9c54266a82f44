"""Containers as real processes in pods' namespaces: images, pods, containers, exec, logs, mounts, limits.

`contract` is what the node agent codes against; `real` is its implementation over the sandbox's PID 1, `fake` the one
for tests. `images` says what an image name means; `builtin` are the small servers that ship with netlab.

What it may not do: know the API, schedule, restart, or decide anything about a pod (that is the kubelet's); make
network interfaces (that is `kernel`'s: it is handed the pod's network namespace).
"""

# For `sandbox.launch(preload=…)`: what PID 1 imports so that builtin containers are forks that import nothing.
PRELOAD = (
    "netlab.runtime.builtin.pause",
    "netlab.runtime.builtin.agnhost",
    "netlab.runtime.builtin.etcd",
    "netlab.runtime.builtin.httpd",
    "netlab.runtime.builtin.httpecho",
    "netlab.runtime.builtin.loadgen",
)
