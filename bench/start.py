"""start: seconds from the start of the process to the first answer of /health.

With a new database and with one that is there, beside the plain FastAPI app and a Python that
imports the big libraries and ends.
"""

import subprocess
import sys
import time

from bench.report import Report, Samples
from bench.servers import Servers, compiled_once

IMPORTS = "import fastapi, uvicorn, sqlalchemy"


def run(report: Report, servers: Servers, *, rounds: int, seconds: float) -> None:
    fresh, existing, plain, imports = [], [], [], []
    with servers.service("start"), servers.plain():
        pass  # what Python has compiled is there for all that follow
    for _ in range(rounds):
        with servers.service("start") as service:
            fresh.append(service.start_seconds)
            database = service.database
        with servers.service("start", database=database) as service:
            existing.append(service.start_seconds)
        with servers.plain() as app:
            plain.append(app.start_seconds)
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", IMPORTS], check=True, env=compiled_once())
        imports.append(time.perf_counter() - started)
        report.say(
            f"  new database {fresh[-1]:.2f} s, existing {existing[-1]:.2f} s,"
            f" plain app {plain[-1]:.2f} s, imports alone {imports[-1]:.2f} s"
        )
    floor, least = Samples(imports), Samples(plain)
    for name, values in (("new database", fresh), ("existing database", existing)):
        report.add("start", name, Samples(values), "s", below=0.6)
        report.add("start", f"{name}, of the plain app", Samples(values).over(least))
        report.add("start", f"{name}, of the imports alone", Samples(values).over(floor))
    report.add("start", "plain app", least, "s")
    report.add("start", IMPORTS, floor, "s")
