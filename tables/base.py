"""What all tables share."""

from sqlalchemy import BigInteger, Integer, MetaData

metadata = MetaData()
"""An index of some rows names its condition for SQLite alone, though PostgreSQL's has the same: to
name it for both would import SQLAlchemy's parts for PostgreSQL, 25 ms of each start."""

Micros = BigInteger
"""Microseconds since 1970-01-01 UTC."""

SequentialId = BigInteger().with_variant(Integer, "sqlite")
"""SQLite counts up INTEGER keys only."""
