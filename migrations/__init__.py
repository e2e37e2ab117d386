"""Schema changes, one Alembic revision each in `versions/`.

A new one: write `versions/NNNN_what.py`, raise `models.SCHEMA_REVISION`, and let
`python -m tools.newest_schema` write what a new SQLite file begins with. The service upgrades its
database at start; nothing needs to be run by hand.
"""
