"""Bytes, lines, rows and columns of a file, and what tells its rows apart."""

import gzip
from pathlib import Path

import pytest

from importing import text_repair
from importing.columns import MAX_COLUMNS
from importing.delimited import Delimited
from importing.errors import RowRejected
from importing.files import opened
from importing.ids import Ids
from importing.records import SkippedLines
from importing.report import Progress, Tally
from tests.support.import_helpers import Outcome, Read, refusal

HEADER = "tweet_id,author_id,inbound,created_at,text,response_tweet_id,in_response_to_tweet_id"
MOMENT = "Tue Oct 31 22:10:47 +0000 2017"


def row(number: int, text: str, *, reply_to: str = "", author: str = "ann") -> str:
    return f"{number},{author},True,{MOMENT},{text},,{reply_to}"


# --- bytes and lines ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252", "mac_roman"]
)
def test_the_encoding_is_found_out(encoding: str, read: Read) -> None:
    text = "It’s late – “again” café naïve"
    assert read(f"text,author\r\n{text},ann\r\n".encode(encoding)).texts == [text]


def test_an_encoding_that_cannot_be_guessed_is_asked_for_and_taken(read: Read) -> None:
    content = "text\nгде\n".encode("cp1251")
    assert "--encoding" in refusal(read, content)
    assert read(content, encoding="cp1251").texts == ["где"]


@pytest.mark.parametrize("text", ["It is late", "荷物が届きません。とても困っています" * 9])
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_wide_encodings_need_no_mark(encoding: str, text: str, read: Read) -> None:
    found = read(f"text,author\n{text},ann\n".encode(encoding))
    assert (found.texts, found.pipeline.source.encoding) == ([text], encoding)


@pytest.mark.parametrize(
    ("encodings", "text"),
    [
        ("cp1250", "Dobrý den, zásilka stále nepřišla a nikdo neodpovídá"),
        ("cp1250", "Paczka się spóźnia, proszę o odpowiedź"),
        ("cp1250", "A csomagom még mindig nem érkezett meg, őszintén szólva bosszantó"),
        ("cp1252", "Où est mon colis ? Ça fait déjà trois semaines, très déçu"),
        ("cp1252", "Pöntunin mín er ekki komin ennþá og enginn svarar, það er slæmt"),
        ("mac-roman", "Où est mon colis ? Ça fait déjà trois semaines, très déçu"),
        (
            "cp1254",
            "Siparişim hâlâ gelmedi, iki haftadır bekliyorum, çok kötü bir hizmet, teşekkürler",
        ),
        ("cp1257", "Mano užsakymas dar neatėjo, laukiu jau dvi savaites, prašau padėti"),
        ("cp1251 koi8-r cp866", "где мой заказ, жду уже неделю"),
        ("cp1253", "πού είναι το δέμα μου"),
        ("cp1255", "איפה החבילה שלי"),
        ("cp1256", "أين طلبي الآن"),
        ("cp932 euc_jis_2004", "荷物が届きません。とても困っています"),
        ("cp949", "배송이 아직 안 왔어요. 너무 늦네요"),
        ("gb18030", "我的包裹还没有到,已经等了两个星期"),
        ("big5hkscs", "我的包裹還沒有到,已經等了兩個星期"),
    ],
)
def test_an_old_encoding_is_found_by_its_language_and_shown(
    encodings: str, text: str, read: Read
) -> None:
    plain = "and a hundred others in English\n" * 100
    for encoding in encodings.split():
        content = f'text\n"{text}"\n{plain}'.encode(encoding)
        found = read(content)
        assert (found.texts[0], found.pipeline.source.encoding) == (text, encoding)
        shown = f"  reads as   {' '.join(text.split()[:3])}"
        assert any(line.startswith(shown) for line in found.pipeline.plan())
        asked = read(content, encoding=encoding).pipeline.plan()
        assert not any(line.startswith("  reads as") for line in asked)


@pytest.mark.parametrize(
    "text",
    ["Voilà c'est fini", "Bon après-midi à tous", "è vero, perché no", "Nos vemos mañana", "São"],
)
def test_a_line_with_an_accent_or_two_stays_western(text: str, read: Read) -> None:
    found = read(f"text\n{text}\n".encode("cp1252"))
    assert (found.texts, found.pipeline.source.encoding) == ([text], "cp1252")


@pytest.mark.parametrize("text", ["late ———————— ever", "•••••••• 4242", "€€€€€€", "Nãããão, já é"])
def test_the_same_sign_again_and_again_is_no_word_of_another_script(text: str, read: Read) -> None:
    found = read(f"text\n{text}\n".encode("cp1252"))
    assert (found.texts, found.pipeline.source.encoding) == ([text], "cp1252")


def test_a_nul_in_a_short_header_is_no_sign_of_a_wide_encoding(read: Read) -> None:
    assert read(b"id\0\nhello\n", columns={"text": "id\ufffd"}).texts == ["hello"]


def test_a_foreign_byte_far_down_still_tells_the_encoding(read: Read) -> None:
    content = (
        b"text\n" + (b"plain " * 1000 + b"\n") * 400 + "café, s’il vous plaît\n".encode("cp1252")
    )
    assert read(content).pipeline.source.encoding == "cp1252"


def test_broken_bytes_are_marked_and_counted_and_cost_no_row(read: Read) -> None:
    found = read(b"text\ncut emoji \xf0\x9f\x98 here\nnul \x00 here\nfine \xc3\xa9\n")
    assert found.texts == ["cut emoji � here", "nul � here", "fine é"]
    assert found.pipeline.reader.mended == {text_repair.UNREADABLE: 2}


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le"])
def test_half_characters_in_wide_encodings_cost_no_row(encoding: str, read: Read) -> None:
    text = "text\none\ncut \ud83d emoji\ncut \ud880\nlast\n"
    found = read(text.encode(encoding, "surrogatepass"), encoding=encoding)
    assert found.texts == ["one", "cut � emoji", "cut �", "last"]
    assert found.pipeline.reader.mended == {text_repair.UNREADABLE: 2}
    assert read("text\none\nlast".encode(encoding) + b"A", encoding=encoding).texts[0] == "one"


def test_gzip_is_unpacked(read: Read) -> None:
    assert read(gzip.compress(b"text\nhello\n", mtime=0)).texts == ["hello"]


@pytest.mark.parametrize(
    ("content", "advice"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"PK\x03\x04rest", "save it as CSV"),
        (bytes(range(256)) * 4, "is not text"),
        (gzip.compress(b"text\nhello\n" * 1000, mtime=0)[:-20], "gzip file is damaged"),
        (b"a,b\n1,2\n", "--text-column"),
    ],
)
def test_what_holds_no_tweets_is_refused_with_advice(
    content: bytes, advice: str, read: Read
) -> None:
    assert advice in refusal(read, content)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_of_all_systems(end: str, read: Read) -> None:
    assert read(end.join(["text,n", "one,1", "two,2"])).texts == ["one", "two"]


def test_a_lone_return_in_a_text_without_quotes_ends_no_row(read: Read) -> None:
    found = read("text,author\r\none\r\rhalf,ann\r\ntwo,bob\r\n")
    assert found.texts == ["one\r\rhalf", "two"]


def test_separators_of_unicode_end_no_row(read: Read) -> None:
    assert read('text\n"a\u2028b\u2029c\u0085d"\n').texts == ["a\u2028b\u2029c\u0085d"]


# --- rows of a CSV --------------------------------------------------------------------------------


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found_out(delimiter: str, read: Read) -> None:
    found = read(delimiter.join(["text", "author"]) + "\n" + delimiter.join(['"a,b;c"', "ann"]))
    assert (found.texts, found.bodies[0]["author"]) == (["a,b;c"], "ann")


def test_a_spreadsheets_hint_at_the_delimiter_is_taken(read: Read) -> None:
    assert read("sep=;\ntext;author\nhi;ann\n").bodies[0]["author"] == "ann"


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize(
    ("content", "line"),
    [
        ('text|author|"Likes\n(total)"\nhello|ann|3\n|bob|4\n', 4),
        ('"When\r\nwas it?"|text|author\r\n|hello|ann\r\n||bob\r\n', 4),
        ('"Of the\n\npost"|"author"|"text"\n1|ann|hello\n1|bob|\n', 5),
        ('Posts of May\n"What came\nwith it"|text|author\n1|hello|ann\n1||bob\n', 5),
    ],
)
def test_a_name_in_the_header_may_go_over_several_lines(
    content: str, line: int, delimiter: str, read: Read
) -> None:
    found = read(content.replace("|", delimiter))
    assert [(each["text"], each["author"]) for each in found.bodies] == [("hello", "ann")]
    assert found.rejected == [(line, "the text is empty")]


def test_a_name_over_several_lines_is_shown_on_one_and_can_be_said(read: Read) -> None:
    content = '"Name","What would you\n do better?"\nann,"more\nlines"\n'
    found = read(content, columns={"text": "What would you do better?"})
    assert found.texts == ["more\nlines"]
    assert "  text       What would you do better?" in list(found.pipeline.plan())


def test_a_quote_that_is_never_closed_in_the_header_costs_no_row(read: Read) -> None:
    found = read('text,"author\none,ann\ntwo,bob\n')
    assert found.texts == ["one", "two"]


@pytest.mark.parametrize("sign", [b"\xff", b"\r", b"\0"])
def test_names_of_columns_may_hold_bytes_that_are_no_text(sign: bytes, read: Read) -> None:
    content = b"text,na%sme,author\nna\xc3\xafve caf\xc3\xa9,1,ann\n" % sign
    found = read(content + b"cr\xc3\xa8me br\xc3\xbbl\xc3\xa9e,2,bob\n")
    assert found.texts == ["naïve café", "crème brûlée"]
    assert len(found.bodies[0]["raw_data"]) == 1


def test_a_quote_that_is_never_closed_costs_one_row(read: Read) -> None:
    swallowed = [row(number, f"row {number}") for number in range(3, 400)]
    found = read("\n".join([HEADER, row(1, "good"), row(2, '"open'), *swallowed]))
    assert found.rejected == [(3, "a quote opens here that is never closed")]
    assert len(found.texts) == 398


def test_a_lost_quote_is_noticed_though_another_one_closes_it(read: Read) -> None:
    lines = [HEADER, row(1, '"open'), row(2, "plain"), row(3, '"quoted, well"'), row(4, "last")]
    found = read("\n".join(lines))
    assert found.rejected == [(2, "a quote opens here that is never closed")]
    assert found.texts == ["plain", "quoted, well", "last"]


def test_line_numbers_are_those_of_an_editor(read: Read) -> None:
    found = read('text,n\n"two\nlines",1\n\n,,\n,3\nlast,4\n,5\n')
    assert found.rejected == [(6, "the text is empty"), (8, "the text is empty")]
    assert found.pipeline.skipped.blank == 2


def test_a_comma_outside_quotes_is_no_silent_loss(read: Read) -> None:
    found = read(f"{HEADER}\n{row(1, 'late, again')}\n{row(2, 'fine')}\n")
    assert found.texts == ["fine"]
    ((line, reason),) = found.rejected
    assert (line, reason.split(":")[0]) == (2, "more cells than columns")


def test_of_a_row_with_very_many_cells_few_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("text,author\n" + '"wide"' + "," * 100_000 + "\n")
    with opened(str(path), None) as source:
        (row,) = Delimited(source, delimiter=None, header=True, skipped=SkippedLines())
    assert row.problem.startswith("more cells than columns: 100001, not 2")
    assert len(row.surplus) < MAX_COLUMNS


def test_delimiters_at_each_lines_end_are_columns_without_names(read: Read) -> None:
    found = read("text,author\nhi,ann,,\nho,bob,,\n")
    assert found.texts == ["hi", "ho"]


def test_quotes_escaped_by_backslash_are_read(read: Read) -> None:
    assert read('text,author\n"a \\"quoted\\", word",ann\n').texts == ['a "quoted", word']


def test_short_rows_and_repeated_headers(read: Read) -> None:
    found = read("author,text,likes\nann,short\nauthor,text,likes\nbob,whole,3\n")
    assert found.texts == ["short", "whole"]
    assert found.pipeline.skipped.headers == 1


def test_a_text_over_the_csv_modules_limit(read: Read) -> None:
    assert len(read('text,n\n"' + "x," * 100_000 + '",1\n').texts[0]) == 200_000


def test_a_line_without_end_costs_its_row_only(read: Read) -> None:
    found = read("text,n\n" + "x" * 9_000_000 + ",1\nfine,2\n")
    assert found.texts == ["fine"]
    assert found.rejected[0][0] == 2


@pytest.mark.parametrize("text", ["nan", "NULL", "None", "N/A", "-", "0", "true", "inf", "\\N"])
def test_what_others_take_for_missing_is_a_text(text: str, read: Read) -> None:
    assert read(f"text,n\n{text},1\n").texts == [text]


@pytest.mark.parametrize("text", ["", " ", "\t", "\u00a0", "\u200b", "\ufeff", "\u2028", "\u202e"])
def test_what_nobody_can_see_is_no_text(text: str, read: Read) -> None:
    found = read(f'text,n\n"{text}",1\n')
    assert found.texts == []
    assert found.rejected[0][1].startswith("the text is empty")


# --- columns --------------------------------------------------------------------------------------


def test_sets_without_a_header_are_known_by_their_looks(read: Read) -> None:
    found = read('"0","14678","Mon Apr 06 22:19:45 PDT 2009","NO_QUERY","ann","so late"\n')
    assert found.pipeline.known_as == "Sentiment140"
    assert found.bodies[0]["timestamp"] == "2009-04-07T05:19:45Z"
    assert read(row(1, "no header") + "\n").texts == ["no header"]


def test_columns_can_be_named_or_numbered(read: Read) -> None:
    content = "what,who\nhello,ann\n"
    columns = {"text": "what", "author": "2"}
    assert read(content, columns=columns).bodies[0]["author"] == "ann"
    assert "--author-column" in refusal(read, content, columns={"text": "what", "author": "3"})
    assert read("hello,ann\nyou,bob\n", header=False, columns={"text": "1"}).texts == [
        "hello",
        "you",
    ]


def test_each_line_can_be_a_text(read: Read) -> None:
    found = read("one, two\n\nthree \n", lines=True)
    assert found.texts == ["one, two", "three"]


def test_other_columns_go_along_and_blank_cells_do_not(read: Read) -> None:
    found = read("id,text,likes,place\n7,hello,3,\n")
    assert found.bodies[0]["raw_data"] == {"id": "7", "likes": "3"}


# --- ids and keys ---------------------------------------------------------------------------------


@pytest.mark.parametrize("ruined", ["5.70306E+17", "5.70E+17", "570306133677760000", "5,7E17"])
def test_ids_that_a_spreadsheet_ruined_are_refused(ruined: str, read: Read) -> None:
    lines = [
        "tweet_id;name;text;date",
        f"{ruined};ann;one;2020-01-01",
        f"{ruined};bob;two;2020-01-01",
    ]
    refused = refusal(read, "\n".join(lines))
    assert ruined in refused
    assert "--ignore-ids" in refused
    assert read("\n".join(lines), ignore_ids=True).texts == ["one", "two"]


def test_one_ruined_id_among_good_ones_costs_its_row(read: Read) -> None:
    good = [f"57030613367776{number:04},t{number}" for number in range(1000, 1100)]
    found = read("\n".join(["id,text", *good, "5.7E+17,bad", "570306133677760000,ends in zeros"]))
    assert len(found.texts) == 101
    assert found.rejected == [(102, "the id 5.7E+17 lost its digits in a spreadsheet")]


def test_ids_lose_what_programs_put_to_them() -> None:
    ids = Ids()
    assert [ids.read(each) for each in ("3.0", " 12 ", "'12", 7, "nan", None)] == [
        "3", "12", "12", "7", None, None,
    ]  # fmt: skip
    for bad in ("10,031,007", "[12, 13]", "12;13", '"'):
        with pytest.raises(RowRejected):
            ids.read(bad)


def keys(found: Outcome) -> list[str]:
    return [body["idempotency_key"] for body in found.bodies]


def test_the_same_tweet_is_the_same_whatever_stands_beside_it(read: Read) -> None:
    first = read("id,text,likes\n7,hello,3\n8,hello,3\n")
    again = read("likes;id;date;text\n99;8;2020-01-01;hello\n99;7;2020-01-01;hello\n")
    assert sorted(keys(first)) == sorted(keys(again))
    assert len(set(keys(first))) == 2


def test_rows_of_two_files_that_number_them_alike_are_not_the_same(read: Read) -> None:
    assert keys(read("id,text\n1,one\n")) != keys(read("id,text\n1,other\n"))


def test_without_an_id_author_time_and_text_tell_rows_apart(read: Read) -> None:
    lines = ["thanks,ann,2020-01-01", "thanks,bob,2020-01-01", "thanks,ann,2020-01-02"]
    found = read("\n".join(["text,author,timestamp", *lines, lines[0]]))
    assert (len(found.items), found.tally.duplicates) == (3, 1)


def test_where_nothing_tells_rows_apart_all_are_kept_and_a_second_run_is_the_same(
    read: Read,
) -> None:
    content = "text,likes\nthanks,1\nthanks,1\nthanks,2\n"
    found = read(content)
    assert (len(set(keys(found))), found.tally.duplicates) == (3, 0)
    assert keys(read(content)) == keys(found)


def test_rows_that_are_twice_in_a_file_are_counted(read: Read) -> None:
    found = read("id,text,label\n1,a,x\n1,a,x\n1,a,other label\n1,other text,x\n")
    assert (found.texts, found.tally.duplicates) == (["a", "other text"], 2)
    assert found.pipeline.ids_shared == 1


def test_keys_can_be_sent(read: Read) -> None:
    found = read("id,text\n" + "9" * 200 + ",a\n")
    assert all(key.isprintable() and len(key) <= 255 for key in keys(found))


# --- progress -------------------------------------------------------------------------------------


def test_progress_goes_by_bytes_and_by_rows_once_all_are_read(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As with --conversations, which sends nothing before the file's end."""
    monkeypatch.setattr("importing.report._SECONDS_BETWEEN_LINES", 0.0)
    tally = Tally()
    progress = Progress(200, name="tweets.csv", tally=tally)
    for read, accepted, duplicates, bytes_read in (
        (10, 5, 0, 50),
        (40, 10, 2, 200),
        (40, 38, 2, 200),
    ):
        tally.read, tally.accepted, tally.duplicates = read, accepted, duplicates
        progress.update(bytes_read)
    progress.close()
    shares = [line.split()[0] for line in capsys.readouterr().err.splitlines()]
    assert shares == ["25%", "30%", "100%"]
