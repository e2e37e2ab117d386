"""What makes the imports of a start quicker."""

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# Nothing here extends pydantic, and looking for what does opens a file of every package.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "1")

# FastAPI imports pydantic's first version when it builds its first route, to refuse models of that,
# and goes on without: 20 ms of somebody's request, and 1 MB.
sys.modules.setdefault("pydantic.v1", None)  # type: ignore[arg-type]

_SPARED = "rich"
"""structlog imports it where there is one, for a console that this service does not use: 60 ms."""


@contextmanager
def quick_imports() -> Iterator[None]:
    """For a block of imports. The garbage collector rests, since all that they make stays: looking
    through it takes a sixth of their time."""
    gc.disable()
    spared = _SPARED not in sys.modules
    if spared:
        sys.modules[_SPARED] = None  # type: ignore[assignment]  # so that importing it fails
    try:
        _import_fastapi()
        yield
    finally:
        if spared:
            del sys.modules[_SPARED]
        gc.freeze()
        gc.enable()


def _import_fastapi() -> None:
    """Its models of the OpenAPI document, a tenth of a start, are built when the document is asked
    for. Ours say for themselves when they are."""
    from pydantic import BaseModel, ConfigDict

    before = BaseModel.model_config
    BaseModel.model_config = ConfigDict(defer_build=True)
    try:
        import fastapi  # noqa: F401
    finally:
        BaseModel.model_config = before
