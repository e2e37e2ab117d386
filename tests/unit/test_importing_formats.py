"""What becomes of short files in the shapes in which other programs export."""

import json
from typing import Any

import pytest

from tests.support.import_helpers import Read

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
