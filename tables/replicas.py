"""Who works on one database beside each other."""

from sqlalchemy import Boolean, Column, String, Table

from tables.base import Micros, metadata

replicas = Table(
    "replicas",
    metadata,
    # Drawn when the process starts.
    Column("id", String(32), primary_key=True),
    Column("analyses", Boolean, nullable=False),
    Column("seen_at", Micros, nullable=False),
)
"""The processes on PostgreSQL, each as it has last said that it is there."""
