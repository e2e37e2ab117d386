"""What becomes of the files that other programs export: first those from the field, where their
folder is there, then short ones in the same shapes."""

import gzip
import json
import tracemalloc
from typing import Any

import pytest

from tests.support.import_helpers import Outcome, Read, refusal
from tests.support.paths import SHARED

CASES = SHARED / "cases"


@pytest.fixture
def case(read: Read) -> Any:
    """`case("reddit_comments.ndjson")`: what comes of that file."""

    def do(name: str, **options: Any) -> Outcome:
        if not (CASES / name).exists():
            pytest.skip(f"{CASES / name} is not there")
        return read(CASES / name, **options)

    return do


def fields(found: Outcome, name: str) -> list[Any]:
    return [body.get(name) for body in found.bodies]


# --- from the field -------------------------------------------------------------------------------


def test_a_post_that_was_cut_off_is_taken_whole(case: Any) -> None:
    (text,) = case("x_v11_truncated.ndjson").texts
    assert text.startswith("@acme_care Thank you")
    assert text.endswith("I want my money back now.")


def test_times_in_created_utc(case: Any) -> None:
    found = case("reddit_comments.ndjson")
    assert fields(found, "timestamp") == ["2024-01-20T10:00:00Z", "2024-01-20T11:00:00Z"]


def test_lines_before_the_header(case: Any) -> None:
    found = case("listening_preamble.csv")
    assert found.texts == ["Third week without a refund, @acme_care.", "Parcel came today, thanks!"]
    assert fields(found, "timestamp") == ["2025-01-20T10:00:00Z", "2025-01-20T11:00:00Z"]
    assert fields(found, "author") == ["maple_otter", "harbour_lane"]
    assert found.pipeline.skipped.preamble == 6


def test_posts_in_html(case: Any) -> None:
    found = case("mastodon_statuses.json")
    assert found.texts == [
        "Three weeks without a refund from @acme_care.\nI don't like this & I will leave.\n#fail",
        "Parcel came today, thanks!",
    ]
    assert fields(found, "author") == ["maple_otter@social.example", "harbour_lane"]


def test_authors_that_are_objects(case: Any) -> None:
    assert fields(case("author_objects.ndjson"), "author") == ["Maple", "harbour_lane", "7"]


def test_a_list_under_a_name_of_its_own(case: Any) -> None:
    (body,) = case("zendesk_tickets.json").bodies
    assert (body["text"], body["timestamp"]) == (
        "Third week without a refund.",
        "2025-01-20T10:00:00Z",
    )


def test_years_of_two_digits(case: Any) -> None:
    found = case("excel_short_years.csv")
    assert fields(found, "timestamp") == ["2025-01-20T10:00:00Z", "2025-01-21T11:30:00Z"]


def test_our_own_export_comes_back(case: Any) -> None:
    assert case("export_round_trip.csv").texts == [
        "'quoted start",
        "=1+1",
        "@acme_care my parcel is late",
    ]


# --- in the shapes of other programs --------------------------------------------------------------

NOON, TEN = "2025-01-20T12:00:00Z", "2025-01-20T10:00:00Z"
EPOCH_TEN = 1737367200


def as_json(value: Any) -> str:
    return json.dumps(value, indent=1)


_AS_FACEBOOK_WRITES_IT = "It’s late 😡".encode().decode("latin-1")
FORMATS: dict[str, tuple[str, list[tuple[str, str | None, str | None]]]] = {
    "Facebook, what one downloads": (
        as_json(
            {
                "comments_v2": [
                    {
                        "timestamp": EPOCH_TEN,
                        "data": [
                            {
                                "comment": {
                                    "timestamp": EPOCH_TEN,
                                    "comment": _AS_FACEBOOK_WRITES_IT,
                                    "author": "Ann Otter",
                                }
                            }
                        ],
                        "title": "Ann commented.",
                    }
                ]
            }
        ),
        [("It’s late 😡", "Ann Otter", TEN)],
    ),
    "Facebook, the Graph API": (
        as_json(
            {
                "data": [
                    {
                        "created_time": "2025-01-20T10:00:00+0000",
                        "from": {"name": "Ann Otter", "id": "7"},
                        "message": "Still late",
                        "id": "1_2",
                    }
                ],
                "paging": {"cursors": {"before": "x", "after": "y"}},
            }
        ),
        [("Still late", "Ann Otter", TEN)],
    ),
    "Instagram, what one downloads": (
        as_json(
            [
                {
                    "media_list_data": [{"uri": ""}],
                    "string_map_data": {
                        "Comment": {"value": "Where is it?"},
                        "Media Owner": {"value": "acme"},
                        "Time": {"timestamp": EPOCH_TEN},
                    },
                }
            ]
        ),
        [("Where is it?", None, TEN)],
    ),
    "Intercom, conversations": (
        as_json(
            {
                "type": "conversation.list",
                "pages": {"type": "pages", "page": 1},
                "total_count": 1,
                "conversations": [
                    {
                        "type": "conversation",
                        "id": "4711",
                        "created_at": EPOCH_TEN,
                        "source": {
                            "type": "email",
                            "id": "3",
                            "subject": "",
                            "body": "<p>Late <b>again</b></p>",
                            "author": {"type": "user", "id": "5", "name": "Ann", "email": "a@b.c"},
                        },
                        "tags": {"type": "tag.list", "tags": []},
                    }
                ],
            }
        ),
        [("Late again", "Ann", TEN)],
    ),
    "Freshdesk, tickets": (
        as_json(
            [
                {
                    "id": 20,
                    "subject": "Parcel",
                    "description": "<div>Not here</div>",
                    "description_text": "Not here",
                    "requester_id": 7,
                    "created_at": "2025-01-20T10:00:00Z",
                }
            ]
        ),
        [("Not here", "7", TEN)],
    ),
    "Zendesk, comments of a ticket": (
        as_json(
            {
                "comments": [
                    {
                        "id": 1,
                        "type": "Comment",
                        "author_id": 7,
                        "body": "Thanks\n\nfor nothing",
                        "html_body": "<div>Thanks<br>for nothing</div>",
                        "plain_body": "Thanks\n\nfor nothing",
                        "attachments": [{"file_name": "a.png", "id": 3}],
                        "created_at": "2025-01-20T10:00:00Z",
                    }
                ],
                "next_page": None,
                "count": 1,
            }
        ),
        [("Thanks\n\nfor nothing", "7", TEN)],
    ),
    "Discord": (
        as_json(
            {
                "guild": {"id": "1", "name": "Shop"},
                "channel": {"id": "2", "type": "GuildTextChat", "name": "help", "topic": None},
                "dateRange": {"after": None, "before": None},
                "messages": [
                    {
                        "id": "926390343757361202",
                        "type": "Default",
                        "timestamp": "2025-01-20T11:00:00.000+01:00",
                        "timestampEdited": None,
                        "content": "My order <3 is lost",
                        "author": {"id": "9", "name": "ann_otter", "nickname": "Ann", "roles": []},
                        "attachments": [{"id": "4", "fileName": "x.mov"}],
                        "reactions": [],
                    }
                ],
                "messageCount": 1,
            }
        ),
        [("My order <3 is lost", "ann_otter", TEN)],
    ),
    "Slack": (
        as_json(
            [
                {
                    "client_msg_id": "a-b",
                    "type": "message",
                    "text": "2 &lt; 3 &amp; late",
                    "user": "U123",
                    "ts": f"{EPOCH_TEN}.000200",
                    "user_profile": {"real_name": "Ann Otter", "display_name": "ann", "name": "a1"},
                    "blocks": [{"type": "rich_text", "elements": []}],
                }
            ]
        ),
        [("2 < 3 & late", "a1", "2025-01-20T10:00:00.000200Z")],
    ),
    "Telegram": (
        as_json(
            {
                "name": "Shop help",
                "type": "public_supergroup",
                "id": 1,
                "messages": [
                    {
                        "id": 5,
                        "type": "message",
                        "date": "2025-01-20T10:00:00",
                        "date_unixtime": str(EPOCH_TEN),
                        "from": "Ann",
                        "from_id": "user7",
                        "text": ["See ", {"type": "link", "text": "this"}, "!"],
                        "text_entities": [{"type": "plain", "text": "See "}],
                    }
                ],
            }
        ),
        [("See this!", "Ann", TEN)],
    ),
    "Bluesky, a feed": (
        as_json(
            {
                "cursor": "x",
                "feed": [
                    {
                        "post": {
                            "uri": "at://did:plc:1/app.bsky.feed.post/2",
                            "author": {"did": "did:plc:1", "handle": "ann.example", "labels": []},
                            "record": {"text": "Late", "createdAt": "2025-01-20T10:00:00.000Z"},
                            "indexedAt": "2025-01-20T12:00:00.000Z",
                        }
                    }
                ],
            }
        ),
        [("Late", "ann.example", TEN)],
    ),
    "YouTube, comment threads": (
        as_json(
            {
                "kind": "youtube#commentThreadListResponse",
                "pageInfo": {"totalResults": 1},
                "items": [
                    {
                        "kind": "youtube#commentThread",
                        "id": "U1",
                        "snippet": {
                            "videoId": "v",
                            "topLevelComment": {
                                "id": "U1",
                                "snippet": {
                                    "textDisplay": "It&#39;s late<br>Really",
                                    "textOriginal": "It's late\nReally",
                                    "authorDisplayName": "@ann",
                                    "authorChannelId": {"value": "C1"},
                                    "publishedAt": "2025-01-20T10:00:00Z",
                                    "updatedAt": "2025-01-20T12:00:00Z",
                                },
                            },
                            "totalReplyCount": 0,
                        },
                    }
                ],
            }
        ),
        [("It's late\nReally", "@ann", TEN)],
    ),
    "YouTube, what one downloads": (
        "Comment ID,Channel ID,Comment Create Timestamp,Price,Parent Comment ID,Video ID,"
        "Comment Text\n"
        'a,C1,2025-01-20T10:00:00+00:00,0,,v,"{""text"":""So late""},{""text"":"" again""}"\n',
        [("So late again", None, TEN)],
    ),
    "Trustpilot, the API": (
        as_json(
            {
                "links": [],
                "reviews": [
                    {
                        "id": "5",
                        "consumer": {"id": "7", "displayName": "Ann O.", "links": []},
                        "stars": 1,
                        "title": "Late",
                        "text": "Never again",
                        "createdAt": "2025-01-20T10:00:00Z",
                    }
                ],
            }
        ),
        [("Never again", "Ann O.", TEN)],
    ),
    "Trustpilot, an export": (
        "Review Created (UTC),Review Consumer User ID,Review Stars,Review Title,Review Content\n"
        "2025-01-20 10:00:00,7,1,Late,Never again\n",
        [("Never again", None, TEN)],
    ),
    "App Store, its API": (
        as_json(
            {
                "data": [
                    {
                        "type": "customerReviews",
                        "id": "1",
                        "attributes": {
                            "rating": 1,
                            "title": "Crashes",
                            "body": "It crashes",
                            "reviewerNickname": "ann",
                            "createdDate": "2025-01-20T02:00:00-08:00",
                        },
                        "links": {"self": "https://api.example/1"},
                    }
                ],
                "links": {"self": "https://api.example"},
            }
        ),
        [("It crashes", "ann", TEN)],
    ),
    "Google Play, a scraper's": (
        "reviewId,userName,content,score,thumbsUpCount,at,replyContent,repliedAt\n"
        "a-1,Ann Otter,It crashes,1,0,2025-01-20 10:00:00,,\n",
        [("It crashes", "Ann Otter", TEN)],
    ),
    "Google Play, its console": (
        "Package Name,App Version Code,Reviewer Language,Device,Review Submit Date and Time,"
        "Review Submit Millis Since Epoch,Star Rating,Review Title,Review Text\n"
        f"com.acme,7,en,x,2025-01-20T10:00:00Z,{EPOCH_TEN}000,1,,It crashes\n",
        [("It crashes", None, TEN)],
    ),
    "Meltwater": (
        "Date,Time,Headline,URL,Opening Text,Hit Sentence,Influencer,CandidateRange\n"
        "20-Jan-2025,10:00AM,Acme,https://n.example,,So late,@ann,12\n",
        [("So late", "@ann", TEN)],
    ),
    "Sprout Social": (
        "Acme inbox report\n\nTimestamp (ET),Network,From,Message,Link\n"
        "1/20/2025 5:00 am,X,ann,So late,https://x.example\n",
        [("So late", "ann", TEN)],
    ),
    "Talkwalker": (
        "url;published;title;content;extra_author_attributes.name;sentiment\n"
        "https://n.example;2025-01-20 10:00:00 +0000;x;So late;ann;-5\n",
        [("So late", None, TEN)],
    ),
    "Mastodon, a boost of it in CSV": (
        "id,created_at,content,account\n"
        '1,2025-01-20T10:00:00Z,<p>a &lt; b</p>,"{""acct"": ""ann""}"\n',
        [("a < b", "ann", TEN)],
    ),
    "pandas, a dump of objects": (
        "text,user,created_at\n"
        "late,\"{'id': 7, 'screen_name': 'ann'}\",2025-01-20 10:00:00+00:00\n",
        [("late", "ann", TEN)],
    ),
    "X, its API version 2": (
        as_json(
            {
                "data": [
                    {
                        "id": "1",
                        "author_id": "7",
                        "text": "cut&amp;\u2026",
                        "note_tweet": {"text": "cut &amp; whole"},
                        "created_at": "2025-01-20T10:00:00.000Z",
                    },
                    {
                        "id": "2",
                        "author_id": "7",
                        "text": "RT @bob: first half\u2026",
                        "referenced_tweets": [{"type": "retweeted", "id": "9"}],
                        "created_at": "2025-01-20T12:00:00.000Z",
                    },
                ],
                "includes": {
                    "users": [
                        {"id": "7", "username": "ann", "public_metrics": {"followers_count": 3}},
                        {"id": "8", "username": "bob"},
                    ],
                    "tweets": [{"id": "9", "author_id": "8", "text": "first half and the second"}],
                },
                "meta": {"result_count": 2},
            }
        ),
        [("cut & whole", "ann", TEN), ("RT @bob: first half and the second", "ann", NOON)],
    ),
    "X, its API version 1.1": (
        json.dumps(
            {
                "created_at": "Mon Jan 20 10:00:00 +0000 2025",
                "id_str": "1",
                "text": "RT @bob: first\u2026",
                "user": {"screen_name": "ann", "name": "Ann", "followers_count": 3},
                "retweeted_status": {
                    "text": "first\u2026",
                    "user": {"screen_name": "bob"},
                    "extended_tweet": {"full_text": "first and second"},
                },
            }
        )
        + "\n",
        [("RT @bob: first and second", "ann", TEN)],
    ),
    "X, as columns": (
        "id,text,extended_tweet.full_text,created_at\n"
        "1,cut\u2026,cut off it was,2025-01-20T10:00Z\n"
        "2,whole,,2025-01-20T12:00Z\n",
        [("cut off it was", None, TEN), ("whole", None, NOON)],
    ),
    "Reddit, a listing": (
        as_json(
            {
                "kind": "Listing",
                "data": {
                    "after": None,
                    "children": [
                        {
                            "kind": "t1",
                            "data": {
                                "id": "k1",
                                "author": "ann",
                                "body": "late",
                                "created_utc": float(EPOCH_TEN),
                            },
                        }
                    ],
                },
            }
        ),
        [("late", "ann", TEN)],
    ),
    "a database": (
        '{"_id": {"$oid": "65ab"}, "text": "late", "user": {"name": "Ann"},'
        f' "created_at": {{"$date": {{"$numberLong": "{EPOCH_TEN}000"}}}}}}\n',
        [("late", "Ann", TEN)],
    ),
}


@pytest.mark.parametrize("name", FORMATS)
def test_text_author_and_time_are_found(name: str, read: Read) -> None:
    content, expected = FORMATS[name]
    found = read(content)
    assert found.rejected == []
    assert [
        (body["text"], body.get("author"), body.get("timestamp")) for body in found.bodies
    ] == expected


# --- where it is not plain, it asks ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "column"),
    [
        ("text,when\na,2025-01-20 10:00\nb,\n", "when"),
        ("text,When it was\na,1737367200\n", "When it was"),
        ("text,n,Moment\na,1,20 Jan 2025\nb,2,21 Jan 2025\n", "Moment"),
        ("text,moment\na,3/4/2015\n", "moment"),
        ('{"text": "a", "details": 1, "lastEdited": "2025-01-20T10:00:00Z"}\n', "lastEdited"),
    ],
)
def test_a_column_that_plainly_holds_times_is_asked_about(
    content: str, column: str, read: Read
) -> None:
    refused = refusal(read, content)
    assert f"{column} looks like it" in refused
    assert "--time-column none" in refused
    assert "timestamp" not in read(content, columns={"time": "none"}).bodies[0]
    if "3/4" not in content:
        assert read(content, columns={"time": column}).bodies[0]["timestamp"][:7] == "2025-01"


@pytest.mark.parametrize(
    "content",
    [
        "text,phone\na,1737367200\n",
        "text,likes\na,42059\n",
        "text,rated at\na,five\n",
        "text,version\na,1.2.2025 beta\n",
        "text,ratio\na,3/4\n",
        "text,when\na,\n",
    ],
)
def test_what_is_no_time_is_not_taken_for_one(content: str, read: Read) -> None:
    assert "timestamp" not in read(content).bodies[0]


def test_the_zone_in_a_header_counts(read: Read) -> None:
    content = "text,Date ({})\na,2025-01-20 10:00\n"
    for zone, moment in (("UTC", TEN), ("EST", "2025-01-20T15:00:00Z"), ("UTC+2", None)):
        found = read(content.format(zone)).bodies[0]["timestamp"]
        assert found == (moment or "2025-01-20T08:00:00Z")
    assert read(content.format("local")).bodies[0]["timestamp"] == TEN
    assert "IST is the name of several zones" in refusal(read, content.format("IST"))


def test_lines_before_the_header_can_be_counted(read: Read) -> None:
    content = "a report,of mine\nnothing,else\nwas,wer\nlate,ann\n"
    assert "--skip-lines" in refusal(read, content)
    columns = {"text": "was", "author": "wer"}
    for options in ({"skip_lines": 2}, {}):
        found = read(content, columns=columns, **options)
        assert (found.texts, found.bodies[0]["author"]) == (["late"], "ann")
        assert found.pipeline.skipped.preamble == 2
    found = read(content + ",\n,x\n", columns=columns)
    assert found.rejected == [(6, "the text is empty")]


def test_a_first_row_is_no_report_though_a_later_one_speaks_of_columns(read: Read) -> None:
    content = "text,author\nmessage,date\ntext,author\nlate,ann\n"
    assert read(content).texts == ["message", "late"]


def test_several_lists_are_asked_about(read: Read) -> None:
    page = {"tickets": [{"text": "a"}], "deleted": {"messages": [{"text": "b"}]}, "count": 2}
    refused = refusal(read, json.dumps(page))
    assert "--records" in refused
    assert "tickets, deleted.messages" in refused
    assert read(json.dumps(page), records="tickets").texts == ["a"]
    assert read(json.dumps(page), records="deleted.messages").texts == ["b"]
    assert "there is no list x" in refusal(read, json.dumps(page), records="x")


@pytest.mark.parametrize("indent", [None, 1])
def test_a_long_list_in_one_object_is_read_piece_by_piece(indent: int | None, read: Read) -> None:
    message = {"id": 0, "content": "x" * 1000, "author": {"name": "ann"}, "attachments": []}
    messages = [message | {"id": number, "date": "2025-01-20"} for number in range(4_000)]
    export = {
        "channel": {"name": "help", "tags": [1, {"a": "]"}]},
        "names": ["a", {"b": {}}, "c"],
        "empty": [],
        "messages": [{"type": "service"}, *messages],
        "count": 4_000,
    }
    content = json.dumps(export, indent=indent)
    found = read(content)
    assert len(found.texts) == 4_000
    assert [reason for _, reason in found.rejected] == ["the text is empty"]
    assert found.bodies[-1]["author"] == "ann"
    assert len(read(content, records="messages").texts) == 4_000
    more = json.dumps({**export, "replies": [message]}, indent=indent)
    assert "several lists (messages, replies)" in refusal(read, more)
    assert "is not JSON" in refusal(read, content[:-400])


def test_a_list_with_columns_of_its_own_can_be_named(read: Read) -> None:
    page = json.dumps({"rows": [{"was": "a"}], "count": 1})
    assert "--records" in refusal(read, page)
    assert read(page, records="rows", columns={"text": "was"}).texts == ["a"]


def test_what_hangs_on_a_record_is_no_list_of_records(read: Read) -> None:
    rows = [{"text": "a", "comments": [{"text": "b"}]}, {"id": 1, "files": [{"name": "c"}]}]
    found = read("\n".join(map(json.dumps, rows)))
    assert found.texts == ["a"]
    assert found.rejected == [(2, "the text is empty")]


# --- people ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("author", "name"),
    [
        ({"acct": "ann@x.example", "username": "ann", "display_name": "Ann"}, "ann@x.example"),
        ({"screen_name": "ann", "name": "Ann"}, "ann"),
        ({"id": 7, "profile": {"name": "Ann"}}, "Ann"),
        ({"email": "a@b.c"}, None),
        ({"name": None, "id": "7"}, "7"),
        ({"name": {"label": "Ann"}}, "Ann"),
        ([{"name": "Ann"}, {"name": "Bob"}], "Ann"),
        (["ann", "bob"], "ann"),
        ([], None),
        ({}, None),
        (True, None),
        (7, "7"),
        ('{"name": "Ann", "email": "a@b.c"}', "Ann"),
        ("{'type': 'user', 'name': 'Ann'}", "Ann"),
        ("{'type': 'user', 'at': datetime.datetime(2025, 1, 1)}", None),
        ('{"name": "Ann", "em', None),
        ("{maple}", "{maple}"),
        ("[deleted]", "[deleted]"),
        (" ann ", "ann"),
    ],
)
def test_an_author_is_a_name_and_never_a_dump(author: Any, name: str | None, read: Read) -> None:
    found = read(json.dumps([{"text": "late", "author": author}]))
    assert found.bodies[0].get("author") == name


def test_what_is_known_of_an_author_goes_along(read: Read) -> None:
    user = {"screen_name": "ann", "followers_count": 3}
    found = read(json.dumps([{"text": "late", "user": user}]))
    assert found.bodies[0]["raw_data"] == {"user": user}


# --- markup ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("<p>one</p><p>two</p>", "one\ntwo"),
        ("one<br>two<br/>three", "one\ntwo\nthree"),
        ("<div><b>one</b></div>two", "one\ntwo"),
        ("<p>I &lt;3 it &amp; you</p>", "I <3 it & you"),
        ("<p>I <3 it, 2 < 3 and a<b</p>", "I <3 it, 2 < 3 and a<b"),
        ('<a href="https://x.example/?a=1&b=2">link</a> there', "link there"),
        ("<ul><li>one</li><li>two</li></ul>", "one\ntwo"),
        ("<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>", "a b\nc"),
        ("<style>p {}</style><script>run()</script><p>seen</p>", "seen"),
        ('<p>so <img src="x.png" alt=":angry:"></p>', "so :angry:"),
        ("<p>one<!-- two --></p>", "one"),
        ("<P CLASS='x'>one</P>", "one"),
        ("<p>one", "one"),
    ],
)
def test_markup_becomes_text(markup: str, text: str, read: Read) -> None:
    found = read(json.dumps([{"text": markup}]))
    assert found.texts == [text]
    assert found.bodies[0]["raw_data"] == {"text": markup}
    assert read(json.dumps([{"text": markup}]), mend=False).texts == [markup]


@pytest.mark.parametrize(
    "text",
    ["I <3 it", "2 < 3 > 1", "a<b", "a<b and c>d", "if a<b>c", "<@U1> <https://x|y>", "<br", "<b>",
     "</p", "<unknown>x</unknown>", "->", "<!-- x -->", "<<<>>>", "x <- y <- z -> w"],
)  # fmt: skip
def test_what_only_looks_like_markup_stays(text: str, read: Read) -> None:
    assert read(json.dumps([{"text": text}])).texts == [text]


# --- what is too much -----------------------------------------------------------------------------


def test_thousands_of_columns_are_refused_and_names_are_not_listed_for_ever(read: Read) -> None:
    many = ",".join(f"column {number}" for number in range(1000))
    refused = refusal(read, f"{many}\n1\n")
    assert len(refused) < 800
    lines = list(read(f"text,{many}\nlate\n").pipeline.plan())
    assert max(map(len, lines)) < 1500
    assert "has more than 2,000 columns" in refusal(read, "text" + "," * 2000 + "\nlate\n")
    wide = read("text,a\nlate,1\nwide" + "," * 5000 + "\n")
    assert wide.rejected == [(3, "more cells than columns: over 2,000")]
    fields = json.dumps({"text": "late", **{str(number): 1 for number in range(2001)}})
    assert read('{"text": "late"}\n' + fields).rejected == [(2, "has more than 2,000 fields")]


@pytest.mark.timeout(60)
def test_millions_of_columns_take_no_memory(read: Read) -> None:
    content = gzip.compress(b"text" + b"," * 31_000_000 + b"\n", mtime=0)
    tracemalloc.start()
    try:
        assert "has more than 2,000 columns" in refusal(read, content)
        assert tracemalloc.get_traced_memory()[1] < 60_000_000
    finally:
        tracemalloc.stop()
