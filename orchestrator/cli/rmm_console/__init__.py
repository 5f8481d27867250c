"""The firmware door by hand: one machine with one RMM 1.0, commands as words, answers as sentences.

words      what a line says: verb, numbers, names
session    the machine, calls and their records, helpers that a Host needs
verbs      the verbs of the shell, one function each
drawing    translation tables as a tree, granules as runs
shell      the interactive loop
"""
