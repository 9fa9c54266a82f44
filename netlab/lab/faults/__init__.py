"""Faults: something is broken on purpose, for a time, and mended again.

`model` and `kinds` say what there is to break, `places` where, `effects` what that means for the lab, `programs` in the
words of nft and tc, `scenario` reads timed files: all pure. `engine` is in labd: it keeps the record of what is broken
(in the lab's state, so that labd may die), has `kernel` and `processes` make it so, and mends when the time is over.
Whatever lies in a namespace's filters or queues is computed whole from all faults that last, so mending is computing
again with one less. What the node agents would repair they are told to leave alone (`netlab.node.told`).

It may break nothing that it cannot mend, and mends what it finds, not what it remembers.
"""
