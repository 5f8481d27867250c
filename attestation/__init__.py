"""Arm CCA attestation: keys, claims, tokens, verdicts, secrets.

Usable alone on tokens from real hardware; knows nothing of simulated servers. No files, clocks or sockets: bytes and
records in, bytes and records out, and :class:`attestation.errors.Refused` for everything that is not as it must be.
"""
