"""Reachability: who can talk to whom, thousands of pairs at once.

`plan` chooses sources, targets and pairs, `pace` decides how long to wait and how much to have outstanding, `matrix`
holds and compares the answers, `render` shows them: all pure. `sockets` sends and receives, from one process inside
the lab that holds a socket in every source's namespace; `__main__` is that process.

It may look at nothing but sockets: what it finds is what a program in the pod would find.
"""
