"""What an analysis is, and every judgement about one.

No socket, no table, no clock; `offline/analyser.py` alone starts a process.
"""
