"""Every statement about conversations and insights, one public method per transaction.

    conversations.py   what clients do with a conversation: hand in, look up, erase, retry
    work.py            what the worker does with the queue: claim, settle, extend, rescue
    ledger.py          what calls were made and what they cost
    erasure.py         erasing, and sweeping up behind it
    insights.py        what dashboards ask: the page and its total
    summaries.py       series, clusters and totals
    windows.py         what is rising and falling
    figures.py         what operators ask: the queue and the spending in numbers

What they share:

    filters.py         which insights are meant
    derived.py         what is kept beside an insight so that reading is fast, all together:
    tallies.py           insights counted by hour and day,
    search.py            the index of words, with the terms that terms.py names,
    days.py              which days have changed
    counting.py        exact totals, from the tallies where they serve
    matches.py         exact totals and the newest of what holds words
    positions.py       how many a pending conversation waits behind
    counts.py          conversations counted by status and lane
    many.py            many rows by one statement

Plain classes over one `Database`. Rows become frozen values here; no SQLAlchemy object leaves.
Times go in and come out aware and in UTC. Any method may raise Unavailable, and then nothing
was stored.
"""
