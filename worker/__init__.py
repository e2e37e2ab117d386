"""The parts of `batch_processor.py`."""
