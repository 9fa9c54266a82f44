"""A k-ary fat tree: (k/2)^2 core switches, k pods of k/2 aggregation and k/2 edge switches, k^3/4 hosts.

A plain Mininet custom topology: `mn --custom fattree.py --topo fattree,k=4` runs it, and `klab up fattree` makes a
cluster of it, with the first host, h1, as its control plane. The tree is full of loops: Mininet wants a controller or
spanning tree for them, klab leaves the redundant links on standby.
"""

from mininet.topo import Topo


class FatTree(Topo):
    """Al-Fares, Loukissas, Vahdat: A Scalable, Commodity Data Center Network Architecture (SIGCOMM 2008)."""

    def build(self, k=4, **_options):
        if k < 2 or k % 2:
            raise ValueError(f"k must be even and at least 2, not {k}")
        half = k // 2
        cores = [self.addSwitch(f"c{index + 1}") for index in range(half * half)]
        host = 0
        for pod in range(k):
            upper = [self.addSwitch(f"a{pod * half + index + 1}") for index in range(half)]
            lower = [self.addSwitch(f"e{pod * half + index + 1}") for index in range(half)]
            for index, aggregation in enumerate(upper):
                for core in cores[index * half : (index + 1) * half]:
                    self.addLink(core, aggregation)
                for edge in lower:
                    self.addLink(aggregation, edge)
            for edge in lower:
                for _ in range(half):
                    host += 1
                    self.addLink(self.addHost(f"h{host}"), edge)


topos = {"fattree": FatTree}
