FROM python:3.11-slim-bookworm AS builder

WORKDIR /build
COPY requirements.txt requirements-languages.txt ./
# --build-arg LANGUAGES=1: the large offline model too, some 110 MB.
ARG LANGUAGES=
RUN python -m venv --without-pip /venv \
    && pip --python /venv install --no-cache-dir --require-hashes --requirement requirements.txt \
        ${LANGUAGES:+--requirement requirements-languages.txt}


FROM python:3.11-slim-bookworm

ENV PATH=/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    DATABASE_URL=sqlite+aiosqlite:////data/insights.db \
    LOG_FORMAT=json

# The code belongs to root, so that the service cannot change it; /data is all it may write.
RUN useradd --uid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin app \
    && install --directory --owner app --group app /data
COPY --from=builder /venv /venv
WORKDIR /app
COPY . .
RUN python -m compileall -q .

USER 10001:10001
VOLUME /data
EXPOSE 8000

# http.client rather than urllib.request: it starts faster and heeds no proxy settings.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
    CMD ["python", "-I", "-S", "-c", "import http.client as h, sys; c = h.HTTPConnection('127.0.0.1', 8000, timeout=2); c.request('GET', '/health'); sys.exit(c.getresponse().status != 200)"]

# One process, whatever WEB_CONCURRENCY says: a SQLite file belongs to one.
CMD ["uvicorn", "main:app", "--workers", "1", "--host", "0.0.0.0", "--port", "8000", "--http", "api.connection_guard:GuardedProtocol", "--no-access-log", "--ws", "none"]
