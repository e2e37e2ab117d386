"""Conversations counted by status and lane, and idempotency keys that belong to an API key.

Triggers count, so that no statement can forget to, not even one of the version before on a replica
that still runs. Such a replica finds `completed_counts` gone and settles nothing any more, so that
it does not write terms of its own kind to the index either: `ensure` in `store/derived/__init__.py`
makes the index anew after all migrations.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_PARTS = 64
_PART_LOCKS = 0x1A51_6877  # PostgreSQL advisory locks, by two numbers: nothing else here has two


def upgrade() -> None:
    _owners_of_keys()
    op.drop_table("completed_counts")
    op.create_table(
        "status_counts",
        sa.Column("status", sa.String(10), primary_key=True),
        sa.Column("lane", sa.String(4), primary_key=True),
        sa.Column("part", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("count", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    if op.get_bind().dialect.name == "sqlite":
        _triggers_for_rows()
    else:
        _triggers_for_statements()
    # After the triggers: on PostgreSQL they are made under a lock that keeps other writers out.
    op.execute(
        "INSERT INTO status_counts (status, lane, part, count)"
        " SELECT status, lane, 0, count(*) FROM conversations GROUP BY status, lane"
    )


def _owners_of_keys() -> None:
    op.add_column(
        "conversations",
        sa.Column("key_owner", sa.Text, nullable=False, server_default=sa.text("''")),
    )
    op.drop_index("idx_conv_idempotency_key", "conversations")
    op.create_index(
        "idx_conv_idempotency_key",
        "conversations",
        ["idempotency_key", "key_owner"],
        unique=True,
        sqlite_where=sa.text("idempotency_key IS NOT NULL"),
        postgresql_where=sa.text("idempotency_key IS NOT NULL"),
    )


def _triggers_for_rows() -> None:
    add = (
        "INSERT INTO status_counts (status, lane, part, count) VALUES (new.status, new.lane, 0, 1)"
        " ON CONFLICT (status, lane, part) DO UPDATE SET count = count + 1;"
    )
    subtract = (
        "UPDATE status_counts SET count = count - 1"
        " WHERE status = old.status AND lane = old.lane AND part = 0;"
    )
    for name, event, body in (
        ("inserted", "INSERT", add),
        ("changed", "UPDATE OF status, lane", subtract + add),
        ("deleted", "DELETE", subtract),
    ):
        op.execute(f"CREATE TRIGGER count_{name} AFTER {event} ON conversations BEGIN {body} END")


def _triggers_for_statements() -> None:
    """Each transaction adds to a part that no other one is adding to, so that transactions neither
    wait for each other nor deadlock."""
    op.execute(
        f"""
        CREATE FUNCTION free_part_of_counts() RETURNS smallint LANGUAGE plpgsql AS $$
        BEGIN
            FOR part IN 0..{_PARTS - 1} LOOP
                IF pg_try_advisory_xact_lock({_PART_LOCKS}, part) THEN
                    RETURN part;
                END IF;
            END LOOP;
            RETURN pg_backend_pid() % {_PARTS};
        END $$
        """
    )
    changes = {
        "inserted": ("INSERT", "NEW TABLE AS added", "SELECT status, lane, 1 FROM added"),
        "deleted": ("DELETE", "OLD TABLE AS gone", "SELECT status, lane, -1 FROM gone"),
        "changed": (
            "UPDATE",
            "OLD TABLE AS gone NEW TABLE AS added",
            "SELECT status, lane, 1 FROM added UNION ALL SELECT status, lane, -1 FROM gone",
        ),
    }
    for name, (event, tables, rows) in changes.items():
        op.execute(
            f"CREATE FUNCTION count_{name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"  # noqa: S608
            " INSERT INTO status_counts AS kept (status, lane, part, count)"
            " SELECT status, lane, free_part_of_counts(), sum(change)"
            f" FROM ({rows}) AS changes (status, lane, change)"
            " GROUP BY status, lane HAVING sum(change) <> 0 ORDER BY status, lane"
            " ON CONFLICT (status, lane, part) DO UPDATE SET count = kept.count + excluded.count;"
            " RETURN NULL; END $$"
        )
        op.execute(
            f"CREATE TRIGGER count_{name} AFTER {event} ON conversations REFERENCING {tables}"
            f" FOR EACH STATEMENT EXECUTE FUNCTION count_{name}()"
        )
