"""nf_tables transactions written straight to the kernel: typed operations to netlink messages, no program in between.

`nft -f` of the same operations' text is the definition of what they mean: tests hold both listings equal, handles and
all. Why not nft itself: before each transaction it reads the namespace's tables, chains and sets anew, which grows with
what is there, while a change is small; and a socket that it opens for itself has the default buffer, so that in a user
namespace large transactions must be cut into many.

`expressions` turns statements into what a rule consists of, `objects` operations into messages, `batch` sends them.
"""

from netlab.kernel.nftables.batch import holds, run, run_async, tables

__all__ = ["holds", "run", "run_async", "tables"]
