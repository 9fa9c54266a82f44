"""What the proxy tells of itself on port 10249."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from netlab.node.proxy_metrics import Measured, ProxyMetrics, exposition

UPSTREAM = {
    "kubeproxy_sync_proxy_rules_duration_seconds",
    "kubeproxy_sync_full_proxy_rules_duration_seconds",
    "kubeproxy_sync_partial_proxy_rules_duration_seconds",
    "kubeproxy_network_programming_duration_seconds",
    "kubeproxy_sync_proxy_rules_last_timestamp_seconds",
    "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds",
    "kubeproxy_sync_proxy_rules_service_changes_pending",
    "kubeproxy_sync_proxy_rules_endpoint_changes_pending",
    "kubeproxy_sync_proxy_rules_no_local_endpoints_total",
    "kubeproxy_sync_proxy_rules_iptables_total",
    "kubeproxy_sync_proxy_rules_service_changes",
    "kubeproxy_sync_proxy_rules_endpoint_changes",
    "kubeproxy_sync_proxy_rules_iptables_restore_failures",
    "kubeproxy_sync_proxy_rules_iptables_partial_restore_failures",
    "kubeproxy_conntrack_reconciler_deleted_entries",
    "kubeproxy_conntrack_reconciler_sync_duration_seconds",
    "kubeproxy_proxy_healthz",
    "kubeproxy_proxy_livez",
}


def test_the_names_are_upstreams_and_the_numbers_those_that_were_measured() -> None:
    metrics = ProxyMetrics("IPv4")
    metrics.service_pending = 2
    metrics.triggers["ns/web-1"] = [90.0, 99.7]
    metrics.begin()
    metrics.synced(full=True, seconds=0.003, now=100.0)
    metrics.failures[False] += 3
    text = exposition([Measured(metrics, [], {"nat": 7})], "iptables", {("/healthz", 503): 4})
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert set(families) == UPSTREAM
    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in families.values()
        for sample in family.samples
    }
    assert samples["kubeproxy_sync_proxy_rules_duration_seconds_count", "IPv4"] == 1
    assert samples["kubeproxy_sync_proxy_rules_duration_seconds_bucket", "0.002", "IPv4"] == 0
    assert samples["kubeproxy_sync_proxy_rules_duration_seconds_bucket", "0.004", "IPv4"] == 1
    assert samples["kubeproxy_sync_partial_proxy_rules_duration_seconds_count", "IPv4"] == 0
    assert samples["kubeproxy_network_programming_duration_seconds_sum", "IPv4"] == pytest.approx(10.3)
    assert samples["kubeproxy_network_programming_duration_seconds_bucket", "0.5", "IPv4"] == 1
    assert samples["kubeproxy_sync_proxy_rules_service_changes_pending", "IPv4"] == 0, "all of it is written"
    assert samples["kubeproxy_sync_proxy_rules_last_timestamp_seconds", "IPv4"] == 100
    assert samples["kubeproxy_sync_proxy_rules_iptables_total", "IPv4", "nat"] == 7
    assert samples["kubeproxy_sync_proxy_rules_iptables_partial_restore_failures_total", "IPv4"] == 3
    assert samples["kubeproxy_proxy_healthz_total", "503"] == 4


def test_each_change_is_measured_once_by_the_sync_that_began_with_it() -> None:
    metrics = ProxyMetrics()
    metrics.triggers["ns/web-1"] = [99.0]
    metrics.endpoint_pending = 1
    metrics.begin()
    metrics.triggers["ns/web-1"] = [99.9]  # while the first one is being written
    metrics.endpoint_pending += 1
    metrics.synced(full=False, seconds=0.001, now=100.0)
    assert sum(metrics.programming.counts) == metrics.endpoint_pending == 1
    metrics.begin()  # and fails
    metrics.begin()
    metrics.synced(full=False, seconds=0.001, now=110.9)
    metrics.synced(full=False, seconds=0.001, now=200.0)
    assert metrics.programming.total == pytest.approx(1.0 + 11.0)
    assert sum(metrics.programming.counts) == 2
    assert not metrics.endpoint_pending


@pytest.mark.parametrize(("mode", "name"), [("nftables", "nftables_sync"), ("ipvs", "iptables_restore")])
def test_each_mode_counts_its_own_failures(mode: str, name: str) -> None:
    text = exposition([Measured(ProxyMetrics(), [], {})], mode, {})
    assert f"kubeproxy_sync_proxy_rules_{name}_failures_total" in text
    assert "partial_restore" not in text
