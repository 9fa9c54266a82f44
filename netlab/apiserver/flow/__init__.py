"""API priority and fairness: every request has a priority level with seats and bounded queues (KEP-1040).

Theory. A FlowSchema says which level a request has and to which flow it belongs (a user, a namespace). While a level
has free seats a request takes one and goes on; that is all that an idle server pays. When all are taken it waits in a
queue chosen by shuffle sharding: each flow is dealt a hand of the queues and takes the shortest of its hand, so a flood
fills its own hand and leaves others a queue of their own. Queues are served in turn. A queue that is full answers 429.

What is simpler than upstream: every request is one seat wide, queues take turns instead of sharing virtual time (the
same thing for requests of one width), and levels do not lend each other seats.
"""

from netlab.apiserver.flow.control import FlowControl

__all__ = ["FlowControl"]
