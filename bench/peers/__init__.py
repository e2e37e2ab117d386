"""The same small service on queues that others have written for PostgreSQL, to compare with.

    front.py             the HTTP app, and the work of a job
    on_pgqueuer.py       PgQueuer
    on_procrastinate.py  Procrastinate

They run in an environment of their own, since the service needs none of it:

    python -m venv .bench/peers
    .bench/peers/bin/pip install -r requirements.txt
    .bench/peers/bin/pip install -r bench/peers/requirements.txt
"""
