"""What all tables share."""

from sqlalchemy import BigInteger, Integer, MetaData

metadata = MetaData()

Micros = BigInteger
"""Microseconds since 1970-01-01 UTC."""

SequentialId = BigInteger().with_variant(Integer, "sqlite")
"""SQLite counts up INTEGER keys only."""
