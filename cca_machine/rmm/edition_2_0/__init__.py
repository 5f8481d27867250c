"""RMI 2.0: function ids, argument decoding, status encoding and order of checks as TF-RMM's main branch speaks it."""
