"""Small servers that ship with netlab: what a builtin image runs.

They are forks of PID 1 (or scripts in a container), so they import only what PID 1 has: os, socket, select, json, time.
No netlab module outside this package, no asyncio, no http.server: a pod of one costs what the fork dirties.
"""
