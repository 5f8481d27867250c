"""The firmware door by hand: one machine with one RMM, commands as words, answers as sentences.

words      what a line says: verb, numbers, names
session    the machine, calls and their records, helpers that a Host needs
steps      what a Host does around a call; a Realm's deeds
host_1_0   verbs that build and run a Realm by RMI 1.0
host_2_0   the same by RMI 2.0, with operations, planes and the end of a Realm
verbs      the other verbs, and which line is which
drawing    translation tables as trees, granules as runs, exits
shell      the interactive loop
"""
