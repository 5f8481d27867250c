"""What the report keeps of a trace: one pass, one fold per subject, each bounded however long the run was.

presence.py    which copies of which Realm execute and serve where: what the other folds listen to
service.py     availability and downtime by Realm class
rows.py        the rows of the time line: machines and Realms
happenings.py  the bars of the time line: faults, waves, drains; what operators asked
evidence.py    verdicts over Realms and platforms
versions.py    firmware versions over time
sessions.py    migrations (modelled)
rollouts.py    rollouts: waves, progress, exposure
trust.py       firmware that was revoked, and Realms without trust
gathering.py   all of them together
"""
