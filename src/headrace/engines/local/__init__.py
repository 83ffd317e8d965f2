"""The queue of one machine: runs wait, start when there is room, and survive the daemon."""
