"""How the host speaks to the RMM of its machine: one front per RMI edition, chosen by the machine's specification."""
