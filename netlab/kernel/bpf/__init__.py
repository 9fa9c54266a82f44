"""The filter language of tcpdump, compiled to classic BPF for frames that start with an Ethernet header.

As pcap-filter(7) has it, with its precedence ("and" and "or" bind alike, from left to right) and its short forms
(`port 80 or 443`, `src 10.0.0.1`, `host (a or b)`):

    [ether|ip|ip6|arp|rarp] [src|dst|src or dst|src and dst] host ADDRESS, net ADDRESS/LEN, net A.B.C.D mask A.B.C.D
    [tcp|udp|sctp] [src|dst|…] port N|NAME, portrange N-M
    ip, ip6, arp, rarp, tcp, udp, sctp, icmp, icmp6, igmp, ah, esp, pim, vrrp; [ip|ip6|ether] proto N|NAME
    broadcast, multicast, [ether|ip|ip6] multicast; vlan [N]; inbound, outbound; less N, greater N
    EXPR = != < <= > >= EXPR of numbers, len, PROTO[OFFSET:SIZE], + - * / % & | ^ << >>, names (tcp-syn, icmp-echo, …)

What it lacks (names of hosts, protochain, gateway, MPLS, PPPoE, Geneve, …) is refused by place and with what to write
instead. libpcap itself would be one more thing to install, and differ from machine to machine.
"""

from netlab.kernel.bpf.code import AND, INSTRUCTION, JEQ, LD_B, LD_H, LD_W, RET, assemble
from netlab.kernel.bpf.parser import parse
from netlab.kernel.bpf.words import FilterError

__all__ = ["AND", "INSTRUCTION", "JEQ", "LD_B", "LD_H", "LD_W", "RET", "FilterError", "compile_filter"]


def compile_filter(expression: str) -> bytes:
    """The instructions, 8 bytes each. FilterError where the expression is not of the language, or too long."""
    return assemble(parse(expression), expression)
