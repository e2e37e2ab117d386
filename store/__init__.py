"""Every statement about conversations and insights, one public method per transaction.

The first sentence of each module says what it holds. `plans/` are changes of many rows, `derived/`
is what is kept beside an insight so that reading is fast.

Plain classes over one `Database`. Rows become frozen values here; no SQLAlchemy object leaves.
Times go in and come out aware and in UTC. Any method may raise Unavailable, and then nothing
was stored.
"""
