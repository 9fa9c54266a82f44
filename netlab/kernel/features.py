"""What this kernel and this machine can do, found out by trying."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Feature:
    """One capability. `detail` says how it was found (version, or the kernel's refusal), `remedy` how to get it."""

    name: str
    available: bool
    detail: str
    needed_for: str
    remedy: str


def probe() -> Mapping[str, Feature]:
    """Try everything, in a throwaway network namespace; a few ms. Needs CAP_NET_ADMIN in the user namespace.

    Keys: veth, bridge, vxlan, netem, tbf, htb, br_netfilter, ip_vs, nft, iptables_legacy, iptables_nft, random_fully,
    conntrack, ovs.
    """
    raise NotImplementedError


def feature(name: str) -> Feature:
    """One feature, probed once per process."""
    raise NotImplementedError


def has(name: str) -> bool:
    """Whether that feature is there."""
    return feature(name).available


def require(name: str, needed_by: str) -> None:
    """UnsupportedFeature, naming the feature, who needs it and the remedy, where it is missing."""
    raise NotImplementedError
