"""Programs that try to take the service down, to use it up, or to speak in another's name.

Each attack is bounded in count and in time, goes to 127.0.0.1 only, and says what came of it.
`python -m tests.attacks` runs them one by one against services of their own, and judges.
"""
