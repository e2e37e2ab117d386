"""The tables beside those of the pipeline, which are in `models.py`."""
