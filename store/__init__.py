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
    insights.py        a page of insights and its total, exports, what comes after an id
    new_insights.py    insights as they are written, with what rules say of them
    outbox.py          messages for endpoints, written by the transaction that makes them true
    told_texts.py      what people wrote, in messages: it goes when it is told, or erased
    endpoints.py       endpoints: made, changed, disabled, deleted
    dispatch.py        the outbox as the courier sees it: claim, settle, release
    deliveries.py      deliveries as they are shown, and asked for once more
    rules.py           rules: made, changed, deleted, and read where insights are written
    labels.py          labels, and what comes of them
    handling.py        who has claimed a conversation, whether it is answered, and the history
    priority.py        a page in the order in which conversations are to be answered
    rising.py          topics that are rising, for insights as they are written
    summaries.py       series, clusters and totals
    handling_figures.py  how many are open, and how long answers took
    authors.py         who wrote: by the beginning of a name, or who complains most
    trends.py          which clusters are rising or falling
    operations.py      the queue and the spending in numbers
    alert_rules.py     alert rules: made, changed and deleted
    alerts.py          alerts: judged, listed, acknowledged and muted
    alert_judging.py   what rules about many posts find: by alert_counts.py and alert_evidence.py
    alert_singles.py   rules about one post at a time
    alert_changes.py   what becomes of an alert, with the messages about it
    alert_trials.py    what a rule would have sent
    reports.py         a period beside the one before it; sent once
    listed.py          an insight as lists, exports and the stream show it
    plans/             changes of many rows: made, walked, undone
    derived/           what is kept beside an insight so that reading is fast

They share `applied_settings.py`, `filters.py` (which insights are meant), `cursors.py`, `ids.py`,
`insight_row.py`, `positions.py` (how many a pending conversation waits behind) and
`bulk_insert.py`.

Plain classes over one `Database`. Rows become frozen values here; no SQLAlchemy object leaves.
Times go in and come out aware and in UTC. Any method may raise Unavailable, and then nothing
was stored.
"""
