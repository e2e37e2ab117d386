"""Every statement about conversations and insights, one public method per transaction.

    conversations.py   what clients do with a conversation: hand in, look up, erase, retry
    idempotency.py     which conversations idempotency keys led to
    lookup.py          conversations as they are shown, one or those that failed
    queue.py           what the worker does with the queue: claim, settle, extend, rescue
    orphans.py         conversations that a dead worker left in `processing`
    versions.py        what was asked of the analyser, numbered, and how many insights bear it
    own_posts.py       taking up another list of one's own accounts
    earlier.py         what earlier analyses tell: answers for equal texts, names in use
    ledger.py          which calls were made and what they cost
    erasure.py         erasing, and sweeping up after it
    insights.py        a page of insights and its total, exports, new insights
    summaries.py       series, clusters and totals
    authors.py         who wrote: by the beginning of a name, or who complains most
    trends.py          which clusters are rising or falling
    operations.py      the queue and the spending in numbers
    derived/           what is kept beside an insight so that reading is fast

They share `applied_settings.py`, `filters.py` (which insights are meant), `cursors.py`, `ids.py`,
`insight_row.py`, `positions.py` (how many a pending conversation waits behind) and
`bulk_insert.py`.

Plain classes over one `Database`. Rows become frozen values here; no SQLAlchemy object leaves.
Times go in and come out aware and in UTC. Any method may raise Unavailable, and then nothing
was stored.
"""
