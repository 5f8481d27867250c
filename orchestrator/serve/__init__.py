"""The HTTP side of the live mode: an API over published state, an event stream, and one page.

views.py       what is published: plain records, made by the engine's thread
chronicle.py   the settled trace, folded for readers: what happened to whom
state.py       what the page holds: one picture of the fleet, and what changed since
problems.py    errors as problem details (RFC 9457)
guard.py       who may ask: loopback, token, origin
reads.py       GET: status, machines, Realms, rollouts, faults, checkers
actions.py     POST: what operators ask for
stream.py      the event stream
app.py         all of it as one application
server.py      its thread and its port
"""
