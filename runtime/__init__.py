"""For operators: logs, metrics, how the service ends, and what its environment says."""
