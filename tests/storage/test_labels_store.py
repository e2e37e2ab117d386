"""Labels: who has the last word, and that every figure follows it."""

from sqlalchemy import Connection, select

from analysis.labels import PERSON, Effective, Label, Labelling, LastWord, Values
from database import Database
from models import insight_clusters, insight_rollups, insights
from store import derived, labels
from store.erasure import ErasureStore
from tables.people import label_log
from tables.people import labels as labels_table
from tests.support.factories import insert_insight, insert_insights, scalar
from tests.support.labels import NEUTRAL, find_priorities, give, put_back, take_back

MODEL = Values(-0.65, ("delivery_problems",), 0.9)


async def served(database: Database, id_: str) -> tuple[float, tuple[str, ...], float, str]:
    columns = insights.c
    statement = select(
        columns.sentiment_score, columns.clusters, columns.confidence, columns.labelled
    ).where(columns.conversation_id == id_)
    score, clusters, confidence, labelled = await database.read(
        lambda connection: connection.execute(statement).one()
    )
    return score, tuple(clusters), confidence, labelled


async def test_a_person_has_the_last_word_then_the_newest_rule(database: Database) -> None:
    id_ = await insert_insight(database)
    await give(database, [id_], Labelling(0.3, ("games",)), 7, name="War Zone")
    assert await served(database, id_) == (0.3, ("games",), 0.9, "rule")
    await give(database, [id_], Labelling(0.5, ("praise",)), 3, name="older")
    assert await served(database, id_) == (0.3, ("games",), 0.9, "rule")
    await give(database, [id_])
    assert await served(database, id_) == (0.0, ("games",), 1.0, "person")
    await take_back(database, [id_], 7)
    assert await served(database, id_) == (0.0, ("praise",), 1.0, "person")
    await take_back(database, [id_])
    assert await served(database, id_) == (0.5, ("praise",), 0.9, "rule")
    await take_back(database, [id_], 3)
    assert await served(database, id_) == (*MODEL, "model")


async def test_what_is_changed_is_told_with_before_and_after(database: Database) -> None:
    id_ = await insert_insight(database)
    (change,) = await give(database, [id_], at=5)
    label = change.label_after
    assert label == Label(0.0, None, "ana", 5)
    assert change.before == Effective(MODEL, LastWord.MODEL, None)
    assert change.after == Effective(
        MODEL._replace(sentiment_score=0.0, confidence=1.0), LastWord.PERSON, label
    )
    assert await give(database, [id_], at=6) == []  # the same again
    assert await give(database, ["conv_00000000"]) == []


async def test_taking_back_leaves_the_served_tables_as_they_were(database: Database) -> None:
    ids = await insert_insights(database, [{}, {"clusters": ["praise"]}, {"text": "War Zone"}])
    await find_priorities(database)
    before = await _served_tables(database)
    await give(database, ids, Labelling(0.6, ("praise", "games")))
    assert await _served_tables(database) != before
    assert not await derived.rebuild(database)
    await take_back(database, ids)
    assert await _served_tables(database) == before
    assert not await derived.rebuild(database)


async def test_putting_back_leaves_alone_what_has_changed_since(database: Database) -> None:
    first, second = await insert_insights(database, [{}, {}])
    await give(database, [first, second], at=1)
    later = await give(database, [first, second], Labelling(0.6), at=2)
    await give(database, [second], Labelling(-0.6), name="ben", at=3)
    wanted = {
        each.conversation_id: labels.PutBack(each.label_after, each.label_before) for each in later
    }
    done = await put_back(database, wanted)
    assert [each.conversation_id for each in done] == [first]
    assert (await served(database, first))[0] == 0.0
    assert (await served(database, second))[0] == -0.6


async def test_a_preview_writes_nothing(database: Database) -> None:
    id_ = await insert_insight(database)
    before = await _served_tables(database)
    shown = await database.read(
        lambda connection: labels.preview(connection, [id_], PERSON, NEUTRAL, name="ana", at=1)
    )
    assert await _served_tables(database) == before
    assert shown == await give(database, [id_])


async def test_labels_and_their_log_go_with_the_conversation(database: Database) -> None:
    id_ = await insert_insight(database)
    await give(database, [id_])
    await ErasureStore(database).erase(id_)
    for table in (labels_table, label_log, insight_clusters, insight_rollups):
        assert await scalar(database, select(table)) is None


async def _served_tables(database: Database) -> list[object]:
    def work(connection: Connection) -> list[object]:
        return [
            connection.execute(select(table).order_by(*table.primary_key)).all()
            for table in (insights, insight_clusters, insight_rollups)
        ]

    return await database.read(work)
