"""Faust, the safe way: the only place that knows how Faust acknowledges, commits and stops.

What a role writes is Faust-free: a function over a batch of records, or an owner of jobs. The harness
guarantees: nothing is acknowledged before its effect is durable, acknowledgements are in offset order,
a failing record never ends the loop, and unfinished work is left unacknowledged on shutdown.
"""
