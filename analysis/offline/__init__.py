"""The analyser without a key: its models, and its tables of words."""
