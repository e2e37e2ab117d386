"""Every statement about conversations and insights, one public method per transaction.

    conversations.py   what clients do with a conversation: hand in, look up, erase, retry
    work.py            what the worker does with the queue: claim, settle, extend, rescue
    ledger.py          what calls were made and what they cost
    insights.py        what dashboards ask: the page and its total
    figures.py         what operators ask: the queue in numbers

Plain classes over one `Database`. Rows become frozen values here; no SQLAlchemy object leaves.
Times go in and come out aware and in UTC. Any method may raise Unavailable, and then nothing
was stored.
"""
