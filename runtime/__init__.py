"""For operators: logs, metrics, and how the service ends."""
