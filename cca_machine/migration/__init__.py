"""Moving a Realm between machines (modelled: no Arm ABI for it is public): tables, sealing, both sides."""
