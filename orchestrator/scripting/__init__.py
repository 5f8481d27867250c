"""The Python face of Realmfleet: a fleet that a script drives, looks at and judges.

`fleet.Fleet` is the room to read first. Everything a script does to a fleet is an operator's input
(`orchestrator.inputs`): journaled, judged at the next boundary, replayed by `realmfleet replay`.
"""
