"""The sections of the report: each module makes one, from what was gathered and from the facts of the run."""
