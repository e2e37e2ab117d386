"""What a start on SQLite, without a mail server, does not import and does not build."""

import json
import subprocess
import sys

from tests.support.paths import ROOT

NOT_NEEDED = {
    "aiosmtplib",
    "alembic",
    "asyncpg",
    "httpx",
    "openpyxl",
    "pydantic.v1",
    "redis",
    "rich",
    "sqlalchemy.dialects.postgresql",
    "sqlalchemy.ext.asyncio",
    "sqlalchemy.orm",
}
"""PostgreSQL's dialect takes 25 ms, mail 10, httpx 30, Alembic 60, SQLAlchemy's asyncio 100, rich
60, pydantic's first version 25."""


PROGRAM = """
import gc, json, sys
import main
from config import load_settings
from fastapi.openapi.models import OpenAPI
from pydantic import BaseModel

app = main.create_app(load_settings())
imported = lambda: [name for name, module in sys.modules.items() if module is not None]
found = {
    "imported": imported(),
    "routes": [route.path for route in app.routes if "dependant" in vars(route)],
    "document": OpenAPI.__pydantic_complete__,
    "others": BaseModel.model_config,
    "collects": gc.isenabled(),
}
for route in app.routes:
    getattr(route, "dependant", None)
print(json.dumps({**found, "then_imported": imported()}))
"""


def test_what_only_some_requests_need_is_neither_imported_nor_built() -> None:
    environment = {"PATH": "", "DATABASE_URL": "sqlite+aiosqlite:///unused.db"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert NOT_NEEDED & set(found["imported"]) == set()
    assert "pydantic.v1" not in found["then_imported"]  # when routes are built
    assert found["routes"] == []
    assert not found["document"]
    assert found["others"] == {}
    assert found["collects"]
