"""Folds from trace records to metrics, one file per concern.

Each fold is a class over the tally with a method `handlers()`: which kind of record is read by which of its methods.
Lines arrive in total order; what must be remembered between them is plain state of the fold. No fold looks at another's
state except through an object it was given.

    machines.py    life of machines: believed and true
    service.py     wanted Realm-time, served or not
    copies.py      copies of Realms: where they execute and serve
    bring_up.py    from wanting a Realm to its service
    evidence.py    tokens, verdicts, keys
    placement.py   the scheduler
    migration.py   sessions and their blackouts
    pods.py        steps of confidential pods, and where they were stopped
    firmware.py    versions, activations, rollouts
    chaos.py       faults and recovery from them
    links.py       lost messages
    operator.py    what operators asked of a live run
"""
