"""The service with an analyser that kills the process, for uvicorn: a text with `killer` in it
does so as soon as it is looked at."""

import asyncio
import os
import signal
from collections.abc import Sequence
from typing import Any

from analysis.outcomes import Reply
from config import load_settings
from main import create_app
from tests.support.http_helpers import ScriptedAnalyser


class DeadlyAnalyser(ScriptedAnalyser):
    async def analyse(self, texts: Sequence[str], **options: Any) -> Reply:
        if any("killer" in text for text in texts):
            os.kill(os.getpid(), signal.SIGKILL)
        await asyncio.sleep(0.02)
        return await super().analyse(texts, **options)


app = create_app(load_settings(), analyser=DeadlyAnalyser(concurrency=5, pack_size=4))
