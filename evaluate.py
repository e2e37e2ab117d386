"""Measures the analyser in use against texts whose sentiment people have judged.

    python evaluate.py tweets.csv
    python evaluate.py texts.txt --labels labels.txt
    python evaluate.py tweets.csv --topics topic_column --topic-names names.txt
    GROK_MODEL=... python evaluate.py tweets.csv --limit 200 --json grok.json

The analyser is the one that the service would run with the same settings, in this process; no
service is needed and nothing is stored. With a GROK_KEY this costs money: begin with --limit.
"""

import argparse
import asyncio
import csv
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from analysis.analyser import Analyser
from analysis.evaluation import (
    CLASSES,
    Judged,
    by_language,
    by_length,
    calibration,
    confusion,
    f1,
    measure,
    script_of,
)
from analysis.fingerprint import as_analysed
from analysis.outcomes import (
    TICKS_PER_USD,
    Analysis,
    Blocked,
    NotNow,
    Refused,
    Reply,
    TransientFailure,
    Unusable,
)
from analysis.sentiment import sentiment_of
from assembly import build_analyser
from config import load_settings
from errors import StartRefused
from importing import topic_labels
from importing.columns import NO_COLUMN, listed
from importing.errors import ImportFailed, RowRejected
from importing.files import opened
from importing.labels import classes_of, plain_label, read_lines
from importing.pipeline import Options, Pipeline
from importing.report import Tally
from runtime.plurals import counted

LABEL_COLUMNS = ("airline_sentiment", "sentiment", "label", "target", "polarity")
LANGUAGE_COLUMNS = ("lang", "language")
TRIES = 3
MAX_PAUSE_SECONDS = 120.0


# --- texts and labels -----------------------------------------------------------------------------


def load(options: argparse.Namespace) -> tuple[list[Judged], Counter[str]]:
    """The texts with their labels, and how many rows are left out, by reason.

    Raises ImportFailed.
    """
    pipeline_options = Options(
        columns={"text": options.text_column, "time": NO_COLUMN},
        lines=options.labels is not None,
        ignore_ids=True,
        mend=not options.keep_text,
    )
    rows: list[tuple[str, str, str]] = []
    with (
        opened(options.file, options.encoding) as source,
        closing(
            Pipeline(source, pipeline_options, tally=Tally(), reject=lambda *_: None)
        ) as pipeline,
    ):
        label_column = language_column = None
        if options.labels is None:
            names = list(pipeline.columns_there)
            label_column = _column(names, options.label_column, LABEL_COLUMNS)
            language_column = _column(names, None, LANGUAGE_COLUMNS)
            if label_column is None:
                wanted = options.label_column or ", ".join(LABEL_COLUMNS)
                raise ImportFailed(
                    f"{options.file}: no column is called {wanted}; there are: {listed(names)}. Say"
                    " --label-column NAME, or --labels FILE if they are in a file beside it"
                )
        labels = None if options.labels is None else read_lines(options.labels)
        left_out: Counter[str] = Counter()
        count = 0
        for count, record in enumerate(pipeline.records, start=1):
            if labels is None:
                label = record.fields.get(label_column or "", "")
            else:
                label = labels[count - 1] if count <= len(labels) else ""
            try:
                text = pipeline.reader.text_of(record)
            except RowRejected as rejected:
                left_out[str(rejected).partition(":")[0]] += 1
                continue
            language = str(record.fields.get(language_column or "", "") or "") or script_of(text)
            rows.append((text, plain_label(label), language))
        if labels is not None and len(labels) != count:
            raise ImportFailed(
                f"{options.labels} has {counted(len(labels), 'line')} and {options.file} {count:,}:"
                " which label belongs to which text cannot be told"
            )
    classes = classes_of({label for _, label, _ in rows}, options.mapping)
    judged = []
    for text, label, language in rows:
        if label in classes:
            judged.append(Judged(text, classes[label], language))
        else:
            left_out[f"the label is {label[:40]}" if label else "no label"] += 1
    if not judged:
        raise ImportFailed(f"{options.file}: no row has a text and a label")
    if options.limit and options.limit < len(judged):
        judged = random.Random(options.seed).sample(judged, options.limit)
    return judged, left_out


def _column(names: Sequence[str], wanted: str | None, usual: Sequence[str]) -> str | None:
    if wanted is not None:
        return wanted if wanted in names else None
    return next((name for name in names if name.strip().lower() in usual), None)


# --- asking ---------------------------------------------------------------------------------------

Unanswered = Unusable | TransientFailure | Refused | NotNow | Blocked


async def ask_all(
    analyser: Analyser, judged: Sequence[Judged], on_progress: Callable[[int], None]
) -> tuple[list[Judged], list[str], int]:
    """The texts with the analyser's answers, the reason of each that has none, and the cost in
    ticks (`TICKS_PER_USD`). Raises ImportFailed."""
    size = analyser.throttle.pack_size
    packs = [range(start, min(start + size, len(judged))) for start in range(0, len(judged), size)]
    answered = list(judged)
    failures: list[str] = []
    ticks = done = 0
    slots = asyncio.Semaphore(analyser.throttle.concurrency)

    async def once(pack: Sequence[int]) -> dict[int, Unanswered]:
        """One call. The texts without an analysis by their index, and why."""
        nonlocal ticks
        reply = await _ask_patiently(analyser, [judged[index].text for index in pack])
        ticks += (reply.call.cost_usd_ticks or 0) if reply.call else 0
        unanswered: dict[int, Unanswered] = {}
        for index, answer in zip(pack, reply.answers, strict=True):
            if isinstance(answer, Analysis):
                answered[index] = replace(
                    judged[index],
                    said=sentiment_of(answer.sentiment_score),
                    score=answer.sentiment_score,
                    confidence=answer.confidence,
                    reasoning=answer.reasoning,
                )
            else:
                unanswered[index] = answer
        return unanswered

    async def ask(pack: range) -> None:
        nonlocal done
        async with slots:
            unanswered = await once(pack)
            for index, answer in unanswered.items():  # each alone, as the service does
                last: Unanswered | None = answer
                for _ in range(TRIES - 1):
                    if isinstance(last, Refused) and len(pack) == 1:
                        break
                    last = (await once([index])).get(index)
                    if last is None or isinstance(last, Refused):
                        break
                if last is not None:
                    failures.append(last.reason)
            done += len(pack)
            on_progress(done)

    async with asyncio.TaskGroup() as group:
        for pack in packs:
            group.create_task(ask(pack))
    return answered, failures, ticks


async def _ask_patiently(analyser: Analyser, texts: Sequence[str]) -> Reply:
    """One call, made once the analyser takes calls.

    Raises ImportFailed where it takes none for MAX_PAUSE_SECONDS, or until a person acts.
    """
    paused = 0.0
    while True:
        if (pause := analyser.throttle.pause_left()) > 0:
            if paused > MAX_PAUSE_SECONDS:
                raise ImportFailed("the analyser takes no calls for minutes")
            await asyncio.sleep(pause)
            paused += pause
            continue
        reply = await analyser.analyse([as_analysed(text) for text in texts])
        match reply.answers[0]:  # those of one call have this in common
            case Blocked(reason):
                raise ImportFailed(f"the analyser takes no calls: {reason}")
            case NotNow(reason):
                if paused > MAX_PAUSE_SECONDS:
                    raise ImportFailed(f"the analyser takes no calls: {reason}")
                await asyncio.sleep(1.0)
                paused += 1.0
            case _:
                return reply


# --- the report -----------------------------------------------------------------------------------


def figures(judged: Sequence[Judged], failures: Sequence[str]) -> dict[str, Any]:
    bins, error = calibration(judged)
    return {
        "overall": asdict(measure("all", judged)),
        "classes": {name: _class(judged, name) for name in CLASSES},
        "confusion": confusion(judged),
        "by_language": [asdict(each) for each in by_language(judged)],
        "by_length": [asdict(each) for each in by_length(judged)],
        "calibration": {"error": error, "bins": [asdict(each) for each in bins]},
        "without_answer": len(failures),
        "reasons": sorted(set(failures))[:10],
    }


def _class(judged: Sequence[Judged], name: str) -> dict[str, float | None]:
    labelled = [each for each in judged if each.label == name]
    said = [each for each in judged if each.said == name]
    right = sum(each.is_right for each in labelled)
    return {
        "count": len(labelled),
        "precision": right / len(said) if said else 0.0,
        "recall": right / len(labelled) if labelled else 0.0,
        "f1": f1(judged, name),
    }


def show(found: dict[str, Any]) -> None:
    overall = found["overall"]
    print(f"{found['file']}: {counted(overall['count'], 'text')}, analyser {found['analyser']}"
          f" ({found['model']})")  # fmt: skip
    print(f"  accuracy  {overall['accuracy']:.3f}  (95 %: {overall['low']:.3f} to"
          f" {overall['high']:.3f})\n  macro-F1  {overall['macro_f1']:.3f}")  # fmt: skip
    print(f"  cost      {found['cost_usd']:.4f} USD, {found['seconds']:.1f} s")
    if found["left_out"]:
        shown = [f"{count:,} {reason}" for reason, count in found["left_out"].items()]
        more = ["..."] if len(shown) > 10 else []
        total = sum(found["left_out"].values())
        print(f"  rows left out: {total:,} ({'; '.join(shown[:10] + more)})")
    if found["without_answer"]:
        reasons = "; ".join(found["reasons"])
        print(f"  without an answer, counted as wrong: {found['without_answer']} ({reasons})")
    print("\nLabelled    said negative   neutral  positive      none  precision recall     F1")
    for name in CLASSES:
        row, each = found["confusion"][name], found["classes"][name]
        counts = "".join(f"{row[said]:10,}" for said in (*CLASSES, "none"))
        score = "-" if each["f1"] is None else f"{each['f1']:.3f}"
        print(f"{name:14}{counts}     {each['precision']:.3f}  {each['recall']:.3f}  {score:>5}")
    for title, slices in (
        ("By language or script", found["by_language"]),
        ("By length in characters", found["by_length"]),
    ):
        print(f"\n{title:26} texts  accuracy  macro-F1  calibration error")
        for each in slices:
            print(f"  {each['name']:22} {each['count']:7,}  {each['accuracy']:8.3f}"
                  f"  {each['macro_f1']:8.3f}  {each['calibration_error']:17.3f}")  # fmt: skip
    print(f"\nConfidence      texts  mean confidence  accuracy    (expected calibration error"
          f" {found['calibration']['error']:.3f})")  # fmt: skip
    for each in found["calibration"]["bins"]:
        print(f"  {each['low']:.1f}-{each['high']:.1f}   {each['count']:10,}"
              f"  {each['confidence']:15.3f}  {each['accuracy']:8.3f}")  # fmt: skip


def write_mistakes(path: str, judged: Sequence[Judged]) -> None:
    """Write what was wrong as CSV, the surest first. Raises OSError."""
    wrong = sorted((one for one in judged if not one.is_right), key=lambda one: -one.confidence)
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["label", "said", "score", "confidence", "text", "reasoning"])
        for each in wrong:
            writer.writerow(
                [each.label, each.said, each.score, each.confidence, each.text, each.reasoning]
            )


async def evaluate_topics(options: argparse.Namespace, analyser: Analyser) -> dict[str, Any]:
    """Raises ImportFailed."""
    column = options.text_column or "text"
    named = topic_labels.load(options.file, column, options.topics, options.topic_names)
    named = await topic_labels.ask(
        named, analyser.throttle.pack_size, lambda texts: _ask_patiently(analyser, texts)
    )
    about = {"file": options.file, "analyser": analyser.name, "model": analyser.model}
    return {**about, **topic_labels.figures(named)}


async def evaluate(options: argparse.Namespace, analyser: Analyser) -> dict[str, Any]:
    """All figures, as `show` prints and --json writes them. Raises ImportFailed, OSError."""
    judged, left_out = load(options)
    started = time.monotonic()

    def on_progress(done: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{done:,} of {len(judged):,}", end="", file=sys.stderr, flush=True)

    try:
        judged, failures, ticks = await ask_all(analyser, judged, on_progress)
    except* ImportFailed as group:
        raise group.exceptions[0] from None
    finally:
        if sys.stderr.isatty():
            print("\r", end="", file=sys.stderr)
    if options.mistakes:
        write_mistakes(options.mistakes, judged)
    return {
        "file": options.file,
        "analyser": analyser.name,
        "model": analyser.model,
        "seconds": time.monotonic() - started,
        "cost_usd": ticks / TICKS_PER_USD,
        "left_out": dict(left_out.most_common()),
        **figures(judged, failures),
    }


def main(argv: Sequence[str], *, analyser: Analyser | None = None) -> int:
    """0 done, 1 not; `analyser` stands in for the one that the settings ask for."""
    parser = argparse.ArgumentParser(description="Measure the analyser on labelled texts.")
    add = parser.add_argument
    add("file", help="a CSV or JSON with texts and labels; with --labels a text in each line")
    add("--labels", metavar="FILE", help="the labels, one in each line")
    add("--mapping", metavar="FILE", help="lines such as: 0 negative, or: 5 very positive")
    add("--text-column", metavar="NAME")
    add("--label-column", metavar="NAME", help=f"one of {', '.join(LABEL_COLUMNS)} is found")
    add("--topics", metavar="NAME", help="measure topics instead: the column of a CSV with them")
    add("--topic-names", metavar="FILE", help="lines such as: Late Parcel = delivery_problems")
    add("--encoding", help="as for ingest_data.py")
    add("--keep-text", action="store_true", help="do not undo &amp;, â€™ and the like first")
    add("--limit", type=int, metavar="N", help="only so many, drawn at random")
    add("--seed", type=int, default=1, help="of the draw (1)")
    add("--json", metavar="FILE", help="also write all figures there")
    add("--mistakes", metavar="FILE", help="write what it got wrong there, the surest first")
    options = parser.parse_args(argv)
    if options.limit is not None and options.limit < 1:
        parser.error("--limit: must be at least 1")

    async def run() -> dict[str, Any]:
        used = analyser or build_analyser(load_settings())
        try:
            measure_all = evaluate_topics if options.topics else evaluate
            return await measure_all(options, used)
        finally:
            await used.aclose()

    try:
        found = asyncio.run(run())
        if options.json:
            Path(options.json).write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    except (ImportFailed, StartRefused, OSError) as error:
        print(f"Stopped: {error}", file=sys.stderr)
        return 1
    (topic_labels.show if options.topics else show)(found)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
