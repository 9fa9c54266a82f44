"""Every period of the control plane and of the nodes, in one table: upstream's value and the lab's faster one.

Upstream's values are the defaults of kube-controller-manager, kubelet, kube-scheduler and client-go (v1.33). All are
seconds. What the API states itself (probe periods, grace periods, tolerationSeconds in a manifest) is never scaled.
"""

from __future__ import annotations

from dataclasses import dataclass

ROWS: tuple[tuple[str, float, float, str], ...] = (
    # name, upstream, lab, upstream's flag or constant
    ("node_lease_duration", 40.0, 4.0, "kubelet nodeLeaseDurationSeconds"),
    ("node_lease_renew", 10.0, 1.0, "a quarter of the lease's duration"),
    ("node_status_update", 10.0, 2.0, "kubelet nodeStatusUpdateFrequency"),
    ("node_status_report", 300.0, 60.0, "kubelet nodeStatusReportFrequency, when nothing changed"),
    ("node_monitor_period", 5.0, 0.5, "--node-monitor-period"),
    ("node_monitor_grace", 50.0, 4.0, "--node-monitor-grace-period"),
    ("node_startup_grace", 60.0, 8.0, "--node-startup-grace-period"),
    ("default_toleration", 300.0, 5.0, "--default-not-ready-toleration-seconds, --default-unreachable-…"),
    ("node_eviction_interval", 10.0, 0.1, "one node per --node-eviction-rate 0.1/s"),
    ("pod_gc_period", 20.0, 2.0, "podgc gcCheckPeriod"),
    ("pod_gc_quarantine", 40.0, 2.0, "podgc quarantineTime"),
    ("gc_absent_owner_ttl", 10.0, 2.0, "how long an owner once seen absent stays known as absent"),
    ("resync", 43200.0, 0.0, "--min-resync-period; 0 is none"),
    ("hpa_sync", 15.0, 1.0, "--horizontal-pod-autoscaler-sync-period"),
    ("hpa_downscale_stabilization", 300.0, 15.0, "--horizontal-pod-autoscaler-downscale-stabilization"),
    ("hpa_cpu_initialization", 300.0, 5.0, "--horizontal-pod-autoscaler-cpu-initialization-period"),
    ("hpa_initial_readiness_delay", 30.0, 2.0, "--horizontal-pod-autoscaler-initial-readiness-delay"),
    ("metrics_resolution", 15.0, 2.0, "metrics-server --metric-resolution"),
    ("endpoints_batch", 0.0, 0.1, "--endpointslice-updates-batch-period, for Services with many endpoints"),
    ("leader_lease_duration", 15.0, 3.0, "--leader-elect-lease-duration"),
    ("leader_renew_deadline", 10.0, 2.0, "--leader-elect-renew-deadline"),
    ("leader_retry", 2.0, 0.5, "--leader-elect-retry-period"),
    ("watch_timeout", 300.0, 1800.0, "the least of client-go's random 5 to 10 minutes"),
    ("request_timeout", 60.0, 10.0, "one unary request of a client"),
    ("connect_timeout", 30.0, 2.0, "net.Dialer Timeout"),
    ("reconnect_min", 0.8, 0.05, "reflector back-off, first"),
    ("reconnect_max", 30.0, 1.0, "reflector back-off, longest"),
    ("queue_backoff_min", 0.005, 0.005, "workqueue DefaultControllerRateLimiter, first"),
    ("queue_backoff_max", 1000.0, 5.0, "workqueue DefaultControllerRateLimiter, longest"),
    ("endpoints_backoff_min", 1.0, 0.05, "endpointslice defaultSyncBackOff"),
    ("expectations_timeout", 300.0, 30.0, "controller ExpectationsTimeout"),
    ("scheduler_backoff_min", 1.0, 0.1, "podInitialBackoffSeconds"),
    ("scheduler_backoff_max", 10.0, 2.0, "podMaxBackoffSeconds"),
    ("scheduler_unschedulable_flush", 300.0, 30.0, "podMaxInUnschedulablePodsDuration"),
    ("scheduler_assumed_ttl", 30.0, 30.0, "how long an assumed pod waits for its binding to be seen"),
    ("pleg_period", 1.0, 1.0, "kubelet relist; ours is told of exits and relists as a safety net"),
    ("kubelet_sync", 60.0, 10.0, "kubelet syncFrequency"),
    ("kubelet_volume_refresh", 60.0, 5.0, "configMap and secret volumes follow their object"),
    ("crash_loop_min", 10.0, 10.0, "kubelet MaxContainerBackOff series, first"),
    ("crash_loop_max", 300.0, 300.0, "kubelet MaxContainerBackOff"),
    ("crash_loop_reset", 600.0, 600.0, "a container that ran this long starts the series anew"),
    ("image_backoff_min", 10.0, 2.0, "kubelet imageBackOff, first"),
    ("image_backoff_max", 300.0, 60.0, "kubelet imageBackOff, longest"),
    ("proxy_min_sync", 1.0, 0.02, "kube-proxy --iptables-min-sync-period"),
    ("proxy_full_sync", 30.0, 30.0, "kube-proxy --iptables-sync-period; ours is a safety net"),
    ("overlay_resync", 60.0, 10.0, "how often a node's observed links, routes, FDB are compared with the desired ones"),
)
"""The table: (name, upstream, lab, where upstream names it)."""


@dataclass(frozen=True)
class Timing:
    """One column of `ROWS`. All in seconds."""

    node_lease_duration: float
    node_lease_renew: float
    node_status_update: float
    node_status_report: float
    node_monitor_period: float
    node_monitor_grace: float
    node_startup_grace: float
    default_toleration: float
    node_eviction_interval: float
    pod_gc_period: float
    pod_gc_quarantine: float
    gc_absent_owner_ttl: float
    resync: float
    hpa_sync: float
    hpa_downscale_stabilization: float
    hpa_cpu_initialization: float
    hpa_initial_readiness_delay: float
    metrics_resolution: float
    endpoints_batch: float
    leader_lease_duration: float
    leader_renew_deadline: float
    leader_retry: float
    watch_timeout: float
    request_timeout: float
    connect_timeout: float
    reconnect_min: float
    reconnect_max: float
    queue_backoff_min: float
    queue_backoff_max: float
    endpoints_backoff_min: float
    expectations_timeout: float
    scheduler_backoff_min: float
    scheduler_backoff_max: float
    scheduler_unschedulable_flush: float
    scheduler_assumed_ttl: float
    pleg_period: float
    kubelet_sync: float
    kubelet_volume_refresh: float
    crash_loop_min: float
    crash_loop_max: float
    crash_loop_reset: float
    image_backoff_min: float
    image_backoff_max: float
    proxy_min_sync: float
    proxy_full_sync: float
    overlay_resync: float


UPSTREAM = Timing(**{name: upstream for name, upstream, _, _ in ROWS})
LAB = Timing(**{name: lab for name, _, lab, _ in ROWS})


def timing(upstream: bool) -> Timing:
    """The column to run with: `klab up --upstream-timing` chooses upstream's."""
    return UPSTREAM if upstream else LAB
