"""The service tortured: kills, freezes, full disks, outages and power cuts, and a count of what
became of everything that it had acknowledged. `python -m tools.torture`."""
