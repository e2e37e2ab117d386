// Times, search, statistics and sums, without a browser.

import assert from "node:assert/strict";
import { test } from "node:test";

import { readView } from "./address.js";
import { crowdText } from "./alerts.js";
import { DAY, partsOf, periodBefore, periodOf, timesOf } from "./periods.js";
import { sameTextKey, together } from "./same.js";
import { markHits, toQuery, topicsLike } from "./search.js";
import { compareCounts, compareShares, tooFew } from "./statistics.js";
import { ago } from "./format.js";
import { alarmText, alarmsOf, calmSign, countChange, headline, isProvisional, machineOf, shareChange, spentToday, whyNotCompared } from "./story.js";
import { mergeSummaries } from "./merge.js";
import { barsOf, coverage, negativeShares } from "./summaries.js";
import { reasonOf } from "./facts.js";

const HOUR = 3_600_000;
const NOW = new Date(2026, 2, 30, 15, 30).getTime(); // the day after clocks change in Europe
const period = (search, extent) => periodOf(readView(search), NOW, extent);

test("times of the address are asked for to the microsecond", () => {
	const times = { start_time: "2025-01-20T11:00:00.123456Z", end_time: "2025-01-20T12:00:00.000001Z" };
	assert.deepEqual(timesOf(period(`?${new URLSearchParams(times)}`)), times);
	assert.deepEqual(timesOf(partsOf(period(`?${new URLSearchParams(times)}`))[0]), times);
	const plain = { start_time: "2025-01-20T11:00:00Z", end_time: "2025-01-20T12:00:00.5Z" };
	assert.deepEqual(timesOf(period(`?${new URLSearchParams(plain)}`)), { start_time: "2025-01-20T11:00:00.000Z", end_time: "2025-01-20T12:00:00.500Z" });
});

test("times are those of the reader's calendar, also where a day has 23 hours", () => {
	const local = ({ start, end }) => [start, end].map((moment) => new Date(moment).toString().slice(0, 21));
	assert.deepEqual(local(period("?range=today")), ["Mon Mar 30 2026 00:00", "Mon Mar 30 2026 15:30"]);
	assert.deepEqual(local(period("?range=yesterday")), ["Sun Mar 29 2026 00:00", "Sun Mar 29 2026 23:59"]);
	assert.deepEqual(local(period("?range=lastweek")), ["Mon Mar 23 2026 00:00", "Sun Mar 29 2026 23:59"]);
	assert.equal(period("?range=3h").end - period("?range=3h").start, 3 * HOUR);
	const before = periodBefore(readView("?range=week"), periodOf(readView("?range=week"), NOW));
	assert.deepEqual(local(before), ["Mon Mar 23 2026 00:00", "Mon Mar 23 2026 15:29"]);
	assert.equal(periodBefore(readView("?compare=none"), period("")), null);
	assert.equal(periodBefore(readView("?range=all"), period("?range=all")), null);
	assert.equal(timesOf(period("?range=yesterday")).end_time.slice(-8), ".999999Z");
});

test("how long ago it was is said in a sentence, whatever the time", () => {
	assert.equal(ago(NOW - 59_000, NOW), "just now");
	assert.equal(ago(NOW + 600_000, NOW), "just now"); // by a clock that is ahead
	assert.equal(ago(NOW - 3 * HOUR, NOW), "3 h ago");
	assert.equal(ago(NOW - 59 * DAY, NOW), "59 days ago");
	assert.match(ago(NOW - 61 * DAY, NOW), /^on (Jan 28|28 Jan)$/);
	const waits = (moment) => ago(moment, NOW, (age) => `waits ${age}`, (day) => `waits since ${day}`);
	assert.equal(waits(NOW - 3 * HOUR), "waits 3 h");
	assert.match(waits(NOW - 61 * DAY), /^waits since (Jan|28)/);
});

test("with a topic chosen, the headline tells what its posts are about beside it", () => {
	const totals = { count: 10, negative: 1, neutral: 9, positive: 0 };
	const summary = { totals, clusters: [{ cluster: "praise", count: 10 }, { cluster: "booking_problems", count: 1 }] };
	const said = (search) => headline({ view: readView(search), now: NOW }, {}, summary, undefined, "");
	assert.match(said("?cluster=praise"), / Also about booking problems \(10%\)\.$/);
	assert.match(said(""), / Most often about praise \(100%\)\.$/);
});

test("all of the time may end at a moment, and then moves no more", () => {
	const oldest = NOW - 400 * DAY;
	const ended = period(`?range=all&end_time=${new Date(NOW - 2 * DAY).toISOString()}`, { oldest, newest: NOW });
	assert.deepEqual([ended.start, ended.end, ended.moves], [oldest, NOW - 2 * DAY, false]);
	assert.deepEqual(period("?range=all", { oldest, newest: NOW }).moves, true);
	const before = period(`?range=all&end_time=${new Date(oldest - DAY).toISOString()}`, { oldest, newest: NOW });
	assert.equal(partsOf(before).length, 1); // there is something to ask for
});

test("the parts of a long period cover it once, and none is too long for an answer", () => {
	for (const days of [1, 1999, 2000, 2001, 5000, 20_000]) {
		const whole = { start: NOW - days * DAY + 12_345, end: NOW, interval: "day" };
		const parts = partsOf(whole).reverse();
		assert.equal(parts[0].start, whole.start);
		assert.equal(parts.at(-1).end, whole.end);
		for (const [index, part] of parts.entries()) {
			if (index) assert.equal(part.start, parts[index - 1].end + 1);
			if (index) assert.equal(part.start % DAY, 0);
			assert.ok(Math.floor(part.end / DAY) - Math.floor(part.start / DAY) < 2000);
		}
	}
	assert.equal(partsOf({ start: NOW - 100_000 * DAY, end: NOW, interval: "day" }), null);
});

test("what is typed is a beginning, unless it is closed", () => {
	const queries = { refun: "refun*", re: "re", "late refun": "late refun*", '"no ref': '"no ref', '"no refund"': '"no refund"', "refund ": "refund", "ref*": "ref*", "don't": "don't", "🎉": "🎉" };
	for (const [typed, query] of Object.entries(queries)) assert.equal(toQuery(typed), query);
});

test("hits are marked, whatever their case and accents, and a text stays the text that it is", () => {
	const marked = (text, query) => markHits(text, query).map(([piece, hit]) => (hit ? `[${piece}]` : piece)).join("");
	assert.equal(marked("My REFUNDS, a refund", "refund*"), "My [REFUNDS], a [refund]");
	assert.equal(marked("refunds refund", "refund"), "refunds [refund]");
	assert.equal(marked("Café <b>cafe</b>", "cafe"), "[Café] <b>[cafe]</b>");
	assert.equal(marked("no late refund, no refund", '"no refund"'), "no late refund, [no refund]");
	assert.equal(marked("don't dont", "don't"), "[don't] dont");
	for (const query of ["", "*", '"', "<b>", "a*b", "\\", "((("]) {
		assert.equal(markHits("a <b> ((( text", query).map(([piece]) => piece).join(""), "a <b> ((( text");
	}
});

test("equal texts are those that differ in names, links, case and space only", () => {
	assert.equal(sameTextKey("@a Late  AGAIN https://x.example/1"), sameTextKey("@bob late again https://y.example/?2"));
	assert.notEqual(sameTextKey("late 1"), sameTextKey("late 2"));
	const rows = ["late", "Late!", "LATE", "fine"].map((text, n) => ({ text, n }));
	assert.deepEqual(together(rows).map(({ row, same }) => [row.n, same]), [[0, 2], [1, 1], [3, 1]]);
});

test("topics are found as they are shown and as they are stored", () => {
	const topics = [{ cluster: "booking_problems" }, { cluster: "billing_problems" }, { cluster: "praise" }];
	const found = (typed) => topicsLike(typed, topics, (name) => name.replaceAll("_", " ")).map(({ cluster }) => cluster);
	assert.deepEqual(found("Booking pro"), ["booking_problems"]);
	assert.deepEqual(found("booking_problems"), ["booking_problems"]);
	assert.deepEqual(found("problems"), ["booking_problems", "billing_problems"]);
	assert.deepEqual(found("  "), []);
});

test("a statistic decides, and never on three posts", () => {
	for (let n = 0; n <= 3; n++) for (let m = 0; m <= 3; m++) assert.equal(compareShares(n, 3, m, 3), 0);
	assert.ok(tooFew(3, 1000));
	assert.ok(!tooFew(20, 20));
	assert.equal(compareShares(600, 1000, 500, 1000), 1);
	assert.equal(compareShares(500, 1000, 600, 1000), -1);
	assert.equal(compareShares(52, 100, 50, 100), 0);
	assert.equal(compareShares(505_000, 1_000_000, 500_000, 1_000_000), 0); // sure, but not worth a word
	assert.equal(compareCounts(4, 0), 0);
	assert.equal(compareCounts(40, 1), 1);
	assert.equal(compareCounts(2411, 2259, { spread: 40 }), 0);
});

test("changes are told with a sense of size", () => {
	assert.equal(countChange(2259, 2259).text, "about as before: 2,259");
	assert.equal(countChange(6, 2).text, "may be chance: 2 before");
	assert.equal(countChange(386, 1).text, "before: 1");
	assert.equal(countChange(1000, 500).text, "100% more than 500 before");
	assert.equal(countChange(9000, 300).text, "30 times the 300 before");
	assert.equal(countChange(0, 300).text, "100% less than 300 before");
	const totals = (negative, count) => ({ negative, neutral: count - negative, positive: 0, count });
	assert.deepEqual(shareChange("negative", totals(3, 3), totals(2, 3)), { text: "too few to compare: 67% of 3", direction: 0, tone: "" });
	assert.equal(shareChange("negative", totals(14, 50), totals(1, 5)).text, "may be chance: 20% before");
	assert.equal(shareChange("negative", totals(51, 100), totals(50, 100)).text, "about as before: 50%");
	assert.equal(shareChange("negative", totals(60, 100), totals(20, 100)).text, "worse than 20%");
});

const bucket = (day, negative, neutral = 0, positive = 0) =>
	({ bucket: new Date(Date.UTC(2020, 0, day)).toISOString(), negative, neutral, positive, average_sentiment: negative + neutral + positive ? (positive - negative) / (negative + neutral + positive) : null });
const UNTOUCHED = { corrected_count: 0, handling: { open: 0, claimed: 0, answered: 0, snoozed: 0, ignored: 0, oldest_open: null, answered_in_goal: null, median_answer_seconds: null } };
const summaryOf = (series) => {
	const count = series.reduce((sum, { negative, neutral, positive }) => sum + negative + neutral + positive, 0);
	return mergeSummaries([{ ...UNTOUCHED, series, clusters: [], totals: { count, negative: count, neutral: 0, positive: 0, average_sentiment: -1, average_confidence: 0.5 } }, { ...UNTOUCHED, series: [], clusters: [], totals: { count: 0, negative: 0, neutral: 0, positive: 0, average_sentiment: null, average_confidence: null } }]);
};
const stats = (waiting, more = {}) => ({
	counts: { pending: { live: waiting, bulk: 0 }, processing: { live: 0, bulk: 0 }, failed: { live: 0, bulk: 0 }, completed: { live: 9, bulk: 0 } },
	completed_last_minute: 60, oldest_pending_seconds: waiting ? 1 : null, breaker: { state: "closed" }, bound_by: "queue", analyser: {}, key_scope: null, ...more,
});

test("half a day is not compared, nor a time before the first post", () => {
	const full = summaryOf(Array.from({ length: 30 }, (_, day) => bucket(day + 1, 10)));
	const late = summaryOf(Array.from({ length: 30 }, (_, day) => bucket(day + 1, day < 28 ? 0 : 100)));
	assert.equal(whyNotCompared(full, full, stats(0)), null);
	assert.equal(whyNotCompared(full, full, stats(3)), null); // a few posts on their way
	assert.equal(whyNotCompared(full, full, stats(81_000)), "so far");
	assert.equal(whyNotCompared(full, late, stats(0)), "before is incomplete");
	assert.equal(whyNotCompared(full, summaryOf([bucket(1, 0)]), stats(0)), "nothing before");
	assert.ok(isProvisional(stats(5), 0));
});

test("what is merged has the sums and means of its parts", () => {
	const part = (count, sentiment, confidence, clusters, answered = 0, inTime = null, oldest_open = null) => ({
		corrected_count: 1, handling: { ...UNTOUCHED.handling, open: 1, answered, answered_in_goal: inTime, oldest_open, median_answer_seconds: 60 }, series: [], clusters, totals: { count, negative: count, neutral: 0, positive: 0, average_sentiment: sentiment, average_confidence: confidence },
	});
	const topic = (cluster, count) => ({ cluster, count, negative: count, neutral: 0, positive: 0, average_sentiment: -0.5 });
	const merged = mergeSummaries([part(1, -1, 0.2, [topic("a", 1)], 1, 1), part(3, -0.6, 0.6, [topic("b", 3), topic("a", 1)], 3, 0.5, "2026")]);
	assert.equal(merged.totals.count, 4);
	assert.ok(Math.abs(merged.totals.average_sentiment + 0.7) < 1e-9);
	assert.ok(Math.abs(merged.totals.average_confidence - 0.5) < 1e-9);
	assert.deepEqual(merged.clusters.map(({ cluster, count }) => [cluster, count]), [["b", 3], ["a", 2]]);
	assert.equal(merged.corrected_count, 2);
	assert.deepEqual(merged.handling, { open: 2, claimed: 0, answered: 4, snoozed: 0, ignored: 0, oldest_open: "2026", answered_in_goal: 0.625, median_answer_seconds: null });
});

test("bars hold all posts, however long the time, and say which are in part", () => {
	for (const days of [1, 100, 170, 171, 1000, 4000, 20_000]) {
		const series = Array.from({ length: days }, (_, day) => bucket(day + 1, 1, 2, 3));
		const first = Date.UTC(2020, 0, 1);
		const { bars } = barsOf(series, { start: first + 5, end: first + days * DAY - 10, interval: "day" });
		assert.ok(bars.length <= 170);
		assert.equal(bars.reduce((sum, bar) => sum + bar.count, 0), 6 * days);
		assert.ok(bars[0].partial && bars.at(-1).partial);
		assert.equal(bars.slice(1, -1).some((bar) => bar.partial), false);
	}
	assert.equal(coverage([bucket(1, 0), bucket(2, 0), bucket(3, 0), bucket(4, 1)]), 0.25);
});

test("a share over time is of twenty posts or more at each point", () => {
	const shares = (...bars) => negativeShares(bars.map(([negative, count]) => ({ negative, count }))).map(({ at, share }) => [at, share]);
	assert.deepEqual(shares([5, 20], [10, 40]), [[0.5, 0.25], [1.5, 0.25]]);
	assert.deepEqual(shares([1, 1], [0, 0], [5, 19], [20, 20]), [[(0.5 + 2.5 * 19) / 20, 0.3], [3.5, 1]]);
	assert.deepEqual(shares([20, 20], [0, 20], [5, 5]), [[0.5, 1], [(1.5 * 20 + 2.5 * 5) / 25, 0.2]]);
	assert.deepEqual(shares([1, 2]), [[0.5, 0.5]]);
	assert.deepEqual(shares([0, 0]), []);
});

test("an alarm is a complaint that rose, the largest first, without what it draws along", () => {
	const trend = (cluster, count, expected, average_sentiment, direction = "rising") => ({ cluster, count, expected, average_sentiment, direction });
	const trends = [trend("praise", 500, 10, 0.8), trend("delivery", 60, 20, -0.5), trend("outage", 924, 1, -0.6), trend("billing", 0, 40, -0.5, "falling"), trend("unknown", 900, 1, -0.2)];
	assert.deepEqual(alarmsOf({ trends }).map(({ cluster }) => cluster), ["outage"]);
	assert.deepEqual(alarmsOf(undefined), []);
});

test("an alarm says when it is of what is analysed so far", () => {
	const alarm = { cluster: "service_outage", count: 10, expected: 2.7 };
	assert.equal(alarmText(alarm, stats(0, { completed_last_hour: 30 })), "Service outage: 10 posts in the last hour, usually 2.7");
	assert.equal(alarmText(alarm, stats(71, { completed_last_hour: 30 })), "Service outage: 10 posts in the last hour, usually 2.7, of what is analysed so far");
});

test("money is told to the cent, to two digits where it is less, and not where none is spent", () => {
	const spent = (cost_usd, daily_budget_usd = null) => spentToday(stats(0, { spending: { today: { cost_usd }, daily_budget_usd } }));
	assert.deepEqual([spent(1.2345), spent(0.00123), spent(12, 20)], ["$1.23", "$0.0012", "$12.00 of $20.00"]);
	assert.deepEqual([spent(0), spentToday(undefined), spentToday(stats(0))], ["", "", ""]);
});

test("the machine's sign is of the machine alone", () => {
	assert.deepEqual([machineOf(stats(0)).state, machineOf(stats(0)).short], ["good", "Analysis running"]);
	assert.match(machineOf(stats(8, { breaker: { state: "open", reason: "Wrong key." } })).long, /Wrong key\. Your posts are safe: 8 wait\./);
	assert.match(machineOf(stats(1, { bound_by: "budget" })).long, /Your posts are safe: 1 waits\./);
	assert.equal(machineOf(stats(1, { oldest_pending_seconds: 99_999 })).short, "Behind: 1 waits");
	assert.equal(machineOf(undefined, "The service does not answer.").state, "bad");
	assert.equal(machineOf(stats(0, { fallback: { notice: "12 of 40" } })).long, "12 of 40");
});

test("authors and copies are told of the posts that they were counted in", () => {
	assert.equal(crowdText({ count: 200, authors: 31, copies: 0.1 }), "31 authors, 10% copies");
	assert.equal(crowdText({ count: 946, authors: 1, copies: null }), "Of the newest 200: 1 author, 0% copies");
});

test("what a person can do nothing about is told as such", () => {
	assert.equal(reasonOf("HTTP 500: Internal error, upstream connect error").text, "Grok had an error of its own.");
	assert.equal(reasonOf("Content violates usage guidelines.").mends, false);
	assert.equal(reasonOf("the account says no").text, "the account says no");
});

test("as usual is said only where there is enough to tell", () => {
	const sign = (waiting, done, extent) => calmSign(stats(waiting, { completed_last_hour: done }), extent, NOW);
	assert.equal(sign(0, 30, { total: 30, newest: NOW - HOUR }), "as usual");
	assert.equal(sign(4, 0, { total: 30, newest: NOW - HOUR }), "as usual");
	assert.equal(sign(71, 30, { total: 30, newest: NOW - HOUR }), "not known yet");
	assert.equal(sign(71, 0, { total: 0 }), "not known yet");
	assert.equal(sign(0, 0, { total: 0 }), "no posts for a day");
	assert.equal(sign(0, 30, { total: 30, newest: NOW - 2 * DAY }), "no posts for a day");
	assert.equal(sign(0, 19, { total: 19, newest: NOW - HOUR }), "not known yet"); // ever
	assert.equal(sign(0, 19, { total: 20, newest: NOW - HOUR }), "as usual");
});
