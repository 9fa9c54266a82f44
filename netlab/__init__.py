"""A Kubernetes cluster's whole network, emulated on one Linux machine with the real kernel data plane."""

__version__ = "0.1.0"
