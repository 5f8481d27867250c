"""What the specifications number: function ids, registers, statuses, layouts and the ports between worlds."""
