"""What a start on SQLite, without a mail server, does not import."""

import json
import subprocess
import sys

from tests.support.paths import ROOT

NOT_NEEDED = {
    "aiosmtplib",
    "alembic",
    "asyncpg",
    "openpyxl",
    "redis",
    "sqlalchemy.dialects.postgresql",
    "sqlalchemy.ext.asyncio",
    "sqlalchemy.orm",
}
"""PostgreSQL's dialect takes 25 ms, mail 10, Alembic 60, SQLAlchemy's asyncio 100."""


def test_what_only_some_need_is_not_imported_by_all() -> None:
    program = (
        "import sys, json, main; from config import load_settings;"
        " main.create_app(load_settings()); print(json.dumps(list(sys.modules)))"
    )
    environment = {"PATH": "", "DATABASE_URL": "sqlite+aiosqlite:///unused.db"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    imported = set(json.loads(done.stdout.splitlines()[-1]))
    assert NOT_NEEDED & imported == set()
