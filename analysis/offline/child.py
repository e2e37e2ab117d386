"""The other end of `OfflineAnalyser`: a process that judges texts and shares no interpreter with
those who post.

It reads a list of texts as a line of JSON, and writes the list of their analyses as one. It ends
with its input, which is closed however the service ends.
"""

import json
import os
import signal
import sys
from dataclasses import asdict

from analysis.offline.judge import Judge
from analysis.outcomes import Analysis

_NICENESS = 10
"""Posts and reads go first."""


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):  # sent to all processes of a group or unit
        signal.signal(number, signal.SIG_IGN)
    os.nice(_NICENESS)
    large = sys.argv[1:] == ["large"]
    judge = Judge(large=large)
    for line in sys.stdin.buffer:
        texts = json.loads(line)
        analyses: list[Analysis] = []
        for some in [texts] if large else [[text] for text in texts]:  # by itself each takes longer
            analyses += judge.judge(some)
            os.sched_yield()  # else Linux lets it go on for 3 ms before others, nice as it is
        try:
            sys.stdout.write(json.dumps([asdict(analysis) for analysis in analyses]) + "\n")
            sys.stdout.flush()
        except BrokenPipeError:
            os._exit(0)  # nobody is left to hear; an ordinary end would flush once more


if __name__ == "__main__":
    main()
