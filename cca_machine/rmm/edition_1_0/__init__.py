"""RMI 1.0: function ids, argument decoding, status encoding and the order of checks, over the edition-neutral core."""
