"""What the service costs and how fast it is, each figure beside one taken on the same machine.

    __main__.py   the command line
    report.py     medians, figures, the table in the end
    machine.py    what the figures were taken on
    servers.py    real server processes, started and stopped, their CPU and memory
    load.py       wrk, the load tool, and what it sends
    samples.py    made-up conversations
    plain_app.py  the plain FastAPI app to compare with
    plain_sqlite.py  rows written without any service

and one module per subject.
"""
