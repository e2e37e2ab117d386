"""Files that hold anything at all, and those of others."""

import json
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from importing.errors import ImportFailed
from importing.files import opened
from importing.pipeline import Options, Pipeline
from importing.records import Record
from importing.report import Tally
from importing.rows import Item
from tests.support.import_helpers import Read, refusal
from tests.support.paths import SHARED

DATA = SHARED / "data"


# --- anything at all ------------------------------------------------------------------------------


_CELLS = st.text(alphabet='ab,;"\n\r\t\\é\x00 1/&', max_size=12)
_LIKE_CSV = st.lists(st.lists(_CELLS, max_size=5).map(",".join), max_size=12).map("\n".join)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["text", "id", "author", "created_at", "data", "includes", "users", "tweet", "user",
             "dialogContent", "agentURL", "conversations", "referenced_tweets", "type"]
        ),
        inner,
        max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip
_LIKE_JSON = st.one_of(
    st.lists(_VALUES, max_size=5).map(json.dumps),
    st.lists(_VALUES, max_size=5).map(lambda values: "\n".join(map(json.dumps, values))),
)


@given(
    content=st.one_of(
        st.binary(max_size=200),
        _LIKE_CSV.map(lambda text: ("id,text,author,date,reply_to_id\n" + text).encode()),
        _LIKE_JSON.map(str.encode),
    ),
    conversations=st.booleans(),
)
@settings(max_examples=500, deadline=None)
def test_whatever_a_file_holds_its_rows_are_accounted_for(
    content: bytes, conversations: bool
) -> None:
    tally = Tally()
    rejected = 0

    def reject(record: Record, reason: str) -> None:
        nonlocal rejected
        tally.reject(record, reason)
        rejected += 1

    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        items: list[Item] = []
        try:
            with (
                opened(file.name, None) as source,
                closing(
                    Pipeline(
                        source,
                        Options(conversations=conversations),
                        tally=tally,
                        reject=reject,
                    )
                ) as pipeline,
            ):
                items += pipeline.items()
        except ImportFailed:
            return
    rows = sum(len(item.records) for item in items)
    assert tally.read == rows + tally.duplicates + rejected
    for item in items:
        body = json.loads(item.json.decode())
        assert body["text"].strip()
        assert body["idempotency_key"].isprintable()


# --- the files of others --------------------------------------------------------------------------


REFUSED = {
    "airline_crowdflower_20cols_macroman_bytes.csv": "--ignore-ids",
    "airline_ids_scientific_dates_dmy_colon.csv": "--ignore-ids",
    "airline_ids_scientific_dates_dmy_dot.csv": "--ignore-ids",
    "airline_ids_scientific_dates_us.csv": "--ignore-ids",
    "airline_ids_two_digit_scientific_renamed_column.csv": "--ignore-ids",
    "airline_serial_dates_rounded_ids_formula_text_broken_utf8.csv": "--ignore-ids",
    "airline_trailing_empty_columns.csv": "--ignore-ids",
    "empty_file.csv": "is empty",
    "no_text_column.csv": "--text-column",
    "not_a_csv.csv": "is not text",
    "ids_notes.json": "--text-column",
}
WITH_OPTIONS: dict[str, dict[str, Any]] = {
    "--ignore-ids": {"ignore_ids": True},
}
# Rows, of them duplicates, of them rejected.
EXPECTED = {
    "airline_sample.csv": (1500, 9, 0),
    "twcs_sample.csv": (1500, 0, 0),
    "twcs_dangling.csv": (345, 0, 0),
    "twcs_kaggle_sample93.csv": (93, 0, 0),
    "inbound_topics_sample.csv": (201, 0, 0),
    "outbound_activities_sample.csv": (102, 0, 0),
    "cdp_sample.csv": (350, 4, 0),
    "twcs_excel_blank_rows.csv.gz": (999, 0, 0),
    "twcs_excel_blank_rows_cut.csv": (999, 0, 0),
    "twcs_bom_crlf_mojibake.csv": (150, 0, 0),
    "twcs_pandas_index_floats_lonecr.csv": (133, 0, 0),
    "airline_label_only_rows.csv": (35, 0, 5),
    "airline_semicolon.csv": (25, 0, 0),
    "airline_six_columns_dates_us.csv": (30, 0, 0),
    "long_texts.csv": (17, 0, 0),
    "empty_and_na_texts.csv": (38, 0, 10),
    "dates.csv": (41, 0, 9),
    "ids.csv": (40, 0, 9),
    "reply_graph.csv": (316, 1, 0),
    "malformed_rows.csv": (13, 0, 3),
    "unclosed_quote.csv": (22, 0, 1),
    "line_endings_cr_only.csv": (3, 0, 0),
    "line_endings_mixed.csv": (6, 0, 0),
    "nul_and_control_bytes.csv": (2, 0, 0),
    "hostile_texts.csv": (22, 0, 0),
    "retweets_and_near_duplicates.csv": (23, 0, 0),
    "xed_sample.csv": (650, 0, 0),
}
FOLDERS = ("airline", "twcs", "twcs_topics", "conversations_cdp", "multilingual", "edge_cases")


def files_of_tweets() -> list[Any]:
    found = [
        path
        for folder in FOLDERS
        for path in sorted((DATA / folder).rglob("*"))
        if path.suffix in (".csv", ".gz", ".json") and path.name != "label_sets.json"
    ]
    if not found:
        return [pytest.param(None, marks=pytest.mark.skip(reason=f"{DATA} is not there"))]
    return [pytest.param(path, id=path.name) for path in found]


def test_the_account_says_how_long_a_text_may_be() -> None:
    tally = Tally()
    tally.reject(Record(2, {}), "text: must be at most 10000 characters")
    tally.reject(Record(3, {}), "timestamp: 'soon'")
    assert list(tally.reasons) == ["text: must be at most 10000 characters", "timestamp"]


@pytest.mark.parametrize("path", files_of_tweets())
def test_every_file_loads_or_is_refused_with_advice(path: Path, read: Read) -> None:
    options: dict[str, Any] = {}
    if advice := REFUSED.get(path.name):
        assert advice in refusal(read, path)
        if advice not in WITH_OPTIONS:
            return
        options = WITH_OPTIONS[advice]
    found = read(path, **options)
    assert found.tally.read > 0 or path.name == "header_only.csv"
    if path.name in EXPECTED:
        tally = found.tally
        assert (tally.read, tally.duplicates, tally.rejected) == EXPECTED[path.name]


@pytest.mark.parametrize(
    ("name", "threads"),
    [("twcs/twcs_sample.csv", 428), ("conversations_cdp/cdp_sample.csv", 150)],
)
def test_published_conversations_come_together(name: str, threads: int, read: Read) -> None:
    if not (DATA / name).exists():
        pytest.skip(f"{DATA / name} is not there")
    found = read(DATA / name, conversations=True)
    assert len(found.items) == threads
    assert sum(len(item.records) for item in found.items) == found.tally.read
