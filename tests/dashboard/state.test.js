// What events make of the state, without a browser.

import assert from "node:assert/strict";
import { test } from "node:test";

import { DEFAULTS, readView, searchOf } from "./address.js";
import { filterOfDraft, missing, phraseOf, setOf, topicsFault } from "./drafts.js";
import { OPEN, handlingNow, handlingText, isTaken } from "./handling.js";
import { openPost } from "./open.js";
import { answerTo, questions } from "./questions.js";
import { matchText, outcomes, planText, setText, whichText } from "./rules.js";
import { asTopics, labelOf, mayWrite, saidOf, wayBack } from "./work.js";
import * as lists from "./lists.js";
import { menu } from "./more.js";
import { change, initialState } from "./state.js";
import { currentCalm } from "./story.js";

const NOW = Date.parse("2026-03-01T12:00:00Z");
const { mergeLists, newRows } = lists;
const start = (search = "") => initialState(search, NOW, { loaded: { lists: { ...lists } } });
const row = (n) => ({ conversation_id: `conv_${n}`, timestamp: new Date(NOW - 1000 * n).toISOString(), text: `${n}` });
const list = (from, to, cursor = null, period = { start: NOW - 3_600_000 }) =>
	({ rows: Array.from({ length: to - from }, (_, n) => row(from + n)), cursor, total: 99, period });
const ids = ({ rows }) => rows.map(({ text }) => Number(text));

test("a view survives its address, and nonsense is left out", () => {
	const views = [
		{ range: "7d", sentiment: "negative", order: "priority" }, { order: "newest" }, { cluster: "praise", order: "newest" },
		{ handling: "claimed", urgency: "now", language: "de", labelled: "person", order: "newest" }, { page: "rules", plan: "plan_0123abcd" }, { page: "figures", compare: "week", author: "<b>&=?", q: 'a "b c" d*', order: "newest" },
		{ range: "own", start_time: "2017-01-01T00:00:00.000Z", end_time: "2017-02-01T00:00:00.000Z", order: "newest", kiosk: "on" }, { open: "conv_0123abcd" },
		{ range: "all", end_time: "2017-02-01T00:00:00.000Z", cluster: "praise", handling: "open", order: "newest" },
	];
	for (const some of views) {
		const view = { ...DEFAULTS, ...some };
		assert.deepEqual(readView(searchOf(view)), view);
	}
	assert.equal(searchOf(readView("?range=9y&page=x&sentiment=blue&order=no&open=1&handling=lost&urgency=very&plan=7&min_confidence=7&compare=z&own=y&zzz=1")), "");
	assert.equal(readView("?start_time=2020-01-02&end_time=2020-01-01").range, "24h");
	assert.equal(readView("?range=7d&end_time=2020-01-01").end_time, "");
	assert.equal(readView("?range=all&end_time=x").end_time, "");
});

test("no event changes the state that was there", () => {
	const freeze = (value) => (value && typeof value === "object" && !Object.isFrozen(value) && Object.values(Object.freeze(value)).forEach(freeze), value);
	let state = freeze(start("?page=analysis"));
	const events = [
		["tick", NOW + 1, NOW], ["see", { page: "desk", cluster: "praise" }], ["askName", ["handle"]], ["named", "ana"], ["askTime", "conv_1"], ["editing", "conv_1"],
		["did", { text: "x", until: NOW }], ["draft", { filter: {} }], ["item", { conversation_id: "conv_1" }], ["handled", "conv_1", null], ["heard", "x"], ["type", "search", "ref"], ["pick", 1], ["typing", false], ["menu", "more"],
		["sheet", "keys"], ["table", "topics", true], ["point", { from: 1, to: 2 }], ["live", { state: "live" }], ["pause"], ["theme", "dark"], ["keys", false],
		["notices", "denied"], ["askForKey", "why"], ["note", "retry", "x"], ["moreFailed"], ["loaded", "open", {}], ["went", "?range=7d"], ["clear"],
	];
	for (const event of events) state = freeze(change(state, event));
	const { key } = { key: state.questions.list };
	for (const event of [["answered", "list", key, list(0, 50, "c"), []], ["failed", "list", key, { text: "no" }], ["more", key, list(50, 60)], ["item", { conversation_id: "conv_3", text: "y" }], ["handled", "conv_4", { state: "answered" }], ["showHeld"], ["kept", "list", { key, value: list(0, 1) }]]) {
		state = freeze(change(state, event));
	}
});

test("what goes wrong is told until something else is asked for, or it goes right", () => {
	let state = start("?q=x");
	state = change(state, ["failed", "list", state.questions.list, { text: "q: no" }]);
	assert.equal(answerTo(state, "list").problem.text, "q: no");
	const other = change(state, ["see", { q: "y" }]);
	assert.equal(answerTo(other, "list").problem, undefined);
	assert.equal(answerTo(change(state, ["answered", "list", state.questions.list, list(0, 1), []]), "list").problem, undefined);
	const noted = change(state, ["note", "retry", "no such post", true]);
	assert.equal(change(noted, ["see", { page: "figures" }]).notes.retry, undefined);
});

test("a post that is erased elsewhere is shown no more, and any other trouble leaves it", () => {
	let state = start("?open=conv_00000001");
	const words = ({ text, children = [] }) => text ?? children.map(words).join("");
	state = change(state, ["near", "conv_00000002"]);
	for (const part of ["open", "near"]) {
		const key = state.questions[part];
		const shown = change(state, ["answered", part, key, { conversation_id: "conv_00000001" }, []]);
		const fails = (status) => change(shown, ["failed", part, key, { text: "There is no conversation", status }]);
		assert.ok(answerTo(fails(503), part).value);
		assert.equal(answerTo(fails(404), part).value, undefined);
		if (part === "open") assert.match(words(openPost(fails(404))), /This post is not there any more: it may have been erased\./);
	}
	const failed = change(change(state, ["answered", "list", state.questions.list, list(0, 1), []]), ["failed", "list", state.questions.list, { text: "no", status: 404 }]);
	assert.ok(answerTo(failed, "list").value);
});

test("how the customers are is not known while the service does not answer", () => {
	let state = start();
	const none = { pending: { live: 0, bulk: 0 }, processing: { live: 0, bulk: 0 } };
	const set = (part, value) => (state = change(state, ["answered", part, state.questions[part], value, []]));
	assert.equal(currentCalm(state), "…");
	set("trends", { trends: [] });
	set("extent", { total: 30, newest: NOW - 1 });
	set("stats", { counts: { ...none, failed: none.pending, completed: none.pending } });
	assert.equal(currentCalm(state), "Customers: as usual");
	state = change(state, ["failed", "stats", state.questions.stats, { text: "The service does not answer.", status: 0, mends: true }]);
	assert.equal(currentCalm(state), "Customers: not known");
	set("stats", answerTo(state, "stats").value);
	assert.equal(currentCalm(state), "Customers: as usual");
});

test("after news the first posts are asked for at once, and who handles what", () => {
	const state = start();
	const least = (part, extent) => questions({ ...state, answers: { extent: { value: extent } } }).find((one) => one.part === part).least;
	for (const early of [undefined, { total: 0 }, { total: 19, newest: NOW - 1 }, { total: 999, newest: NOW - 100_000_000 }]) assert.equal(least("extent", early), 3_000);
	assert.equal(least("extent", { total: 20, newest: NOW - 1 }), 60_000);
	for (const part of ["claimed", "snoozed"]) assert.equal(least(part), 3_000);
});

test("an answer to another question than that of now is stale", () => {
	let state = start();
	const { key } = { key: state.questions.summary };
	state = change(state, ["answered", "summary", key, { totals: {} }, []]);
	assert.equal(answerTo(state, "summary").stale, false);
	assert.equal(answerTo(change(state, ["tick", NOW + 8 * 3_600_000, NOW]), "summary").stale, false); // the period moves, the question stays
	assert.equal(answerTo(change(state, ["see", { cluster: "praise" }]), "summary").stale, true);
});

test("a list that is asked for again keeps what was loaded beyond it", () => {
	const before = list(10, 110, "end");
	assert.deepEqual(ids(mergeLists(before, list(5, 55, "first"))), ids(list(5, 110)));
	assert.equal(mergeLists(before, list(5, 55, "first")).cursor, "end");
	const gone = { ...list(5, 55, "first") };
	gone.rows = gone.rows.filter(({ text }) => text !== "20");
	assert.ok(!ids(mergeLists(before, gone)).includes(20)); // erased
	assert.deepEqual(ids(mergeLists(before, list(-90, -40, "first"))), ids(list(-90, -40))); // too much came in: what is between is unknown
	assert.deepEqual(ids(mergeLists(before, list(5, 9))), ids(list(5, 9))); // all there is
	const moved = list(5, 55, "first", { start: NOW - 80_500 });
	assert.deepEqual(ids(mergeLists(before, moved)), ids(list(5, 81))); // the period has moved on
	assert.equal(mergeLists(before, list(5, 55, "first")).rows[10], before.rows[5]); // the same object: it is not drawn again
});

test("rows wait while somebody reads, and come when they are asked for", () => {
	let state = start();
	const { key } = { key: state.questions.list };
	state = change(state, ["answered", "list", key, list(0, 50, "c"), []]);
	state = change(state, ["answered", "list", key, list(-3, 47, "c"), [], false]);
	assert.deepEqual(ids(state.answers.list.value), ids(list(0, 50)));
	assert.equal(newRows(state.answers.list.value, state.held), 3);
	assert.deepEqual(ids(change(state, ["showHeld"]).answers.list.value), ids(list(-3, 50)));
	assert.equal(change(state, ["see", { range: "7d" }]).held, null);
});

const queue = (...ns) => ({ rows: ns.map((n) => ({ ...row(n), handling: OPEN })), cursor: "c", total: 99, order: "priority", period: { start: 0 } });

test("the desk's own address lists what is to be answered, and one that asks for some posts lists those", () => {
	assert.equal(readView("").order, "priority");
	assert.equal(readView("?page=figures").order, "priority");
	assert.equal(readView("?author=ana").order, "newest");
	assert.equal(readView("?author=ana&order=priority").order, "priority");
	assert.equal(readView("?handling=answered&order=priority").order, "newest");
	assert.equal(change(start("?cluster=praise&order=priority"), ["clear"]).view.order, "priority");
	const { questions } = start("");
	assert.equal(change(start(""), ["see", { range: "7d" }]).questions.list, questions.list); // whatever time is chosen
	assert.notEqual(change(start(""), ["see", { language: "de" }]).questions.list, questions.list);
	assert.notEqual(change(start(""), ["see", { language: "de" }]).questions.summary, questions.summary);
});

test("what somebody else does to a post is seen wherever it is shown", () => {
	let state = start("?open=conv_0000000a");
	const set = (part, value) => (state = change(state, ["answered", part, state.questions[part], value, []]));
	set("list", queue(1, 2, 3));
	state = change(state, ["answered", "open", state.questions.open, { conversation_id: "conv_2", insight: { handling: OPEN, grok_analysis: {} } }, []]);
	const claimed = { state: "claimed", by: "ben", until: new Date(NOW + 60_000).toISOString(), at: new Date(NOW).toISOString() };
	const after = change(state, ["handled", "conv_2", claimed]);
	assert.deepEqual(after.answers.list.value.rows.map(({ handling }) => handling.state), ["open", "claimed", "open"]);
	assert.equal(after.answers.open.value.insight.handling, claimed);
	assert.equal(after.answers.list.value.rows[0], state.answers.list.value.rows[0]); // not drawn again
	const item = { ...row(3), labelled: { by: "person" }, grok_analysis: { sentiment_score: 0 } };
	assert.equal(change(state, ["item", item]).answers.list.value.rows[2].labelled.by, "person");
});

test("rows that others have answered stay under a hand, as what they are now, and go when it is away", () => {
	let state = start("");
	const answer = (list, calm) => (state = change(state, ["answered", "list", state.questions.list, list, [], calm]));
	answer(queue(1, 2, 3));
	answer(queue(1, 3, 4), false);
	assert.deepEqual([state.held, ids(state.answers.list.value)], [null, [1, 2, 3]]); // it was there, below
	answer({ ...queue(4, 1, 3), cursor: null }, false);
	assert.deepEqual(ids(state.answers.list.value), [1, 2, 3]);
	assert.deepEqual([state.held.fresh, ids(state.held)], [1, [4, 1, 3]]);
	answer({ ...queue(1, 3), cursor: null, total: 2 }, false);
	assert.deepEqual([state.held, ids(state.answers.list.value), state.answers.list.value.total], [null, [1, 2, 3], 2]);
	answer({ ...queue(1, 3), cursor: null }, true);
	assert.deepEqual([state.held, ids(state.answers.list.value)], [null, [1, 3]]);
});

test("what the reader has claimed stays where it stands until it is dealt with", () => {
	let state = change(start(""), ["named", "ana"]);
	const answer = (list) => (state = change(state, ["answered", "list", state.questions.list, list, [], true]));
	const claim = (by, name = "claimed") => ["handled", "conv_2", { state: name, by, until: null, at: null }];
	answer(queue(1, 2, 3));
	state = change(state, claim("ana"));
	answer({ ...queue(0, 1, 3), cursor: null });
	assert.deepEqual(ids(state.answers.list.value), [0, 2, 1, 3]);
	assert.deepEqual(ids(change(change(state, claim("ben")), ["answered", "list", state.questions.list, { ...queue(1, 3), cursor: null }, []]).answers.list.value), [1, 3]);
	state = change(state, claim("ana", "answered"));
	answer({ ...queue(1, 3), cursor: null });
	assert.deepEqual(ids(state.answers.list.value), [1, 3]);
});

test("a queue that is asked for again keeps what was loaded beyond it, in its order", () => {
	const before = queue(9, 2, 7, 4, 5);
	assert.deepEqual(ids(mergeLists(before, queue(2, 8, 7))), [2, 8, 7, 4, 5]);
	assert.deepEqual(ids(mergeLists(before, queue(2, 8))), [2, 8]); // where the last one stood is unknown
});

test("claims and rests that have run out are open again, without anybody's doing", () => {
	const until = new Date(NOW).toISOString();
	const handling = { state: "claimed", by: "ana", until, at: until };
	assert.equal(handlingNow(handling, NOW - 1), handling);
	assert.equal(handlingNow(handling, NOW), OPEN);
	assert.equal(handlingNow(undefined, NOW), OPEN);
	assert.equal(isTaken(handling, "ana"), false);
	assert.equal(isTaken(handling, "ben"), true);
	assert.match(handlingText(handling, NOW, "ben"), /^ana has it until /);
	assert.match(handlingText(handling, NOW, "ana"), /^yours until /);
	assert.equal(handlingText({ ...handling, state: "answered", until: null, at: new Date(NOW - 300_000).toISOString() }, NOW, "ben"), "answered by ana, 5 min");
});

test("what was done can be undone for as long as it is said", () => {
	const state = change(start(), ["did", { text: "Answered.", until: NOW + 10_000, undo: ["handle"] }]);
	assert.equal(change(state, ["tick", NOW + 9_000, NOW]).done.text, "Answered.");
	assert.equal(change(state, ["tick", NOW + 10_000, NOW]).done, null);
});

test("the way back leads to who had it before, and to when that ends", () => {
	const end = (minutes) => new Date(NOW + 60_000 * minutes).toISOString();
	const back = (state, by, until = null) => wayBack({ state, by, until, at: end(-1) }, NOW, "ana");
	const note = "undone by ana";
	assert.deepEqual(back("answered", "bob"), { state: "answered", by: "bob", note });
	assert.deepEqual(back("snoozed", "bob", end(90)), { state: "snoozed", by: "bob", until: end(90), note });
	assert.deepEqual(back("claimed", "bob", end(119.8)), { state: "claimed", by: "bob", minutes: 120, take_over: true, note });
	assert.equal(back("claimed", "ana", end(0.1)).minutes, 1);
	assert.deepEqual(back("claimed", "bob", end(-1)), { state: "open", by: "ana", note }); // it has run out
	assert.deepEqual(wayBack(OPEN, NOW, "ana"), { state: "open", by: "ana", note });
});

test("a person's label is what is not as it was before", () => {
	const was = { sentiment_score: -0.7, clusters: ["a"], confidence: 0.4 };
	const item = (sentiment_score, clusters, by = "person") => ({ grok_analysis: { sentiment_score, clusters }, labelled: by && { by, was } });
	assert.deepEqual(labelOf(item(0, ["a"])), { sentiment_score: 0 });
	assert.deepEqual(labelOf(item(-0.7, ["a", "b"])), { clusters: ["a", "b"] });
	assert.deepEqual(labelOf(item(0, ["b"], "rule")), {});
	assert.deepEqual(labelOf(item(-0.7, ["a"], null)), {});
});

test("what is said of a label is what was stored, of that which was wanted", () => {
	const stored = { grok_analysis: { sentiment_score: -0.7, clusters: ["billing_problems", "vouchers"] } };
	assert.match(saidOf({ clusters: ["billing-problems", "voucher"] }, stored), /^billing problems, vouchers\. /);
	assert.match(saidOf({ sentiment: "negative" }, stored), /^▼ Negative\. /);
	assert.match(saidOf({ sentiment_score: 0, clusters: [] }, stored), /^▼ Negative: billing problems, vouchers\. /);
	assert.deepEqual(asTopics(" Billing  Problems,, vouchers , "), ["billing_problems", "vouchers"]);
});

test("a plan tells what became of the posts that matched", () => {
	const plan = { state: "applied", matched: 54, changed: 47, skipped: 0, later: 0, left_alone: 0 };
	assert.deepEqual(outcomes({ ...plan, state: "ready", changed: 0 }), []);
	assert.deepEqual(outcomes(plan), ["47 posts were changed", "7 posts stayed as they were"]);
	assert.deepEqual(outcomes({ ...plan, changed: 1, skipped: 53, later: 1 }), ["1 post was changed", "53 posts no longer fitted", "1 post came later and is not touched"]);
	assert.deepEqual(outcomes({ ...plan, kind: "handling", changed: 53, skipped: 1 }), ["53 posts were changed", "1 post no longer fitted or had been claimed"]);
	assert.deepEqual(outcomes({ ...plan, state: "undone", changed: 54, left_alone: 2 }), ["54 posts had been changed", "2 posts changed since and were left alone"]);
	assert.deepEqual(outcomes({ ...plan, state: "failed", changed: 3 }), ["3 posts were changed"]);
});

test("a plan says that it is of all times where its filter has none", () => {
	const text = (state, matched, filter = {}) => matchText({ state, matched, filter });
	assert.equal(text("ready", 13), " of all times match.");
	assert.equal(text("ready", 1, { q: "late" }), " of all times matches.");
	assert.equal(text("ready", 13, { start_time: "2026-01-01T00:00:00Z", end_time: null }), " match.");
	for (const state of ["applying", "applied", "undone"]) assert.equal(text(state, 13), " matched.");
});

test("others of the same author are counted without the open post, where that is among them", () => {
	const words = ({ text, children = [] }) => text ?? children.map(words).join("");
	const at = new Date(NOW).toISOString();
	const insight = { grok_analysis: { sentiment_score: 0, clusters: ["a"], reasoning: "", confidence: 1 }, handling: OPEN, urgency: "none", language: "und", timestamp: at };
	const shown = (insight, insights) => {
		let state = { ...start("?open=conv_00000001"), minute: NOW };
		const set = (part, value) => (state = change(state, ["answered", part, state.questions[part], value, []]));
		set("open", { conversation_id: "conv_00000001", author: "kim", text: "x", timestamp: at, created_at: at, status: insight ? "completed" : "pending", attempts: 0, insight });
		set("earlier", { insights, metadata: { total_count: insights.length } });
		return words(openPost(state));
	};
	const other = { ...insight, conversation_id: "conv_00000002", text: "y" };
	assert.match(shown(null, [other]), /Others of the same author: 1/); // it waits
	assert.match(shown(insight, [{ ...insight, conversation_id: "conv_00000001" }, other]), /Others of the same author: 1/);
});

test("nothing is offered that a reader's key may not do", () => {
	const state = start();
	const asKey = (key_scope) => mayWrite(change(state, ["answered", "stats", state.questions.stats, { key_scope }, []]));
	assert.equal(mayWrite(state), true); // of no key is anything known yet
	assert.deepEqual(["read", "write", "admin", null].map(asKey), [false, true, true, true]);
});

test("the menu's notices say what they are of", () => {
	const words = ({ text, children = [] }) => text ?? children.map(words).join("");
	assert.match(words(menu(start())), /Notify me when a topic rises/);
});

test("a plan that takes back names whose word that is", () => {
	let state = start("?page=rules");
	const text = (plan) => planText(state, { kind: "unlabel", filter: {}, set: null, rule_id: null, ...plan });
	const rule = { rule_id: "rule_1", name: "Storms" };
	assert.equal(text({ rule_id: "rule_1" }), "The word of the deleted rule rule_1: taken back");
	assert.equal(text({ filter: { author: "kim" } }), "Posts by kim, the word of people: taken back");
	state = change(state, ["told", "name of rule_1", "Storms"]);
	assert.equal(text({ rule_id: "rule_1" }), "The word of the rule “Storms”: taken back");
	state = change(start("?page=rules"), ["answered", "rules", state.questions.rules, { rules: [rule] }, []]);
	assert.equal(text({ rule_id: "rule_1", filter: { author: "kim" } }), "Posts by kim, the word of the rule “Storms”: taken back");
	assert.equal(text({ kind: "label", filter: {}, set: { sentiment: "neutral" } }), "All posts: ● neutral");
});

test("rules and plans are asked for again once the plan that is open ends", () => {
	let state = start("?page=rules&plan=plan_0123abcd");
	const keys = () => [state.questions.rules, state.questions.plans];
	const plan = (now) => (state = change(state, ["answered", "plan", state.questions.plan, { state: now, done: 1 }, []]));
	const seen = ["ready", "applying", "applied", "undoing", "undone"].map((now) => (plan(now), keys()));
	for (const [index, each] of seen.entries()) if (index) for (const part of [0, 1]) assert.notEqual(each[part], seen[index - 1][part]);
	plan("undone");
	assert.deepEqual(keys(), seen.at(-1));
});

test("a draft that names other topics than can be set says how many there may be", () => {
	const fault = (op, topics) => topicsFault({ kind: "label", op, topics });
	for (const op of ["add", "remove"]) {
		for (const fine of ["", " ", "a", "a, "]) assert.equal(fault(op, fine), "");
		assert.equal(fault(op, "a, b"), "one topic");
	}
	assert.equal(fault("replace", "a, b"), "");
	assert.equal(fault("replace", ""), "");
	for (const wrong of ["a", "a, b, c"]) assert.match(fault("replace", wrong), /^two topics: the one that is there, and/);
	assert.equal(fault("exactly", "a, b, c, d, e"), "");
	assert.equal(fault("exactly", "a, b, c, d, e, f"), "5 topics at most");
	assert.equal(topicsFault({ kind: "handling" }), "");
});

test("a draft that cannot be used yet says what is missing", () => {
	const draft = { kind: "label", filter: {}, name: "", sentiment: "", op: "add", topics: "" };
	const lacks = (more) => missing({ ...draft, ...more });
	const which = { filter: { q: "late" } };
	assert.equal(lacks({}), "Say which posts, and what they become.");
	assert.equal(lacks({ sentiment: "negative" }), "Say which posts.");
	assert.equal(lacks(which), "Say what they become.");
	assert.equal(lacks({ ...which, sentiment: "negative" }), "A rule needs a name.");
	assert.equal(lacks({ ...which, sentiment: "negative", name: "Late" }), "");
	assert.equal(lacks({ ...which, op: "exactly", topics: "praise" }), ""); // is for once
	assert.equal(lacks({ ...which, kind: "handling" }), "");
});

test("a draft says which posts and what they become", () => {
	assert.equal(phraseOf('@shop "War Zone" is a great game! https://x.example/1 cool'), '"War Zone is a great game"');
	assert.equal(phraseOf("@a"), '""');
	assert.deepEqual(setOf({ sentiment: "neutral", op: "add", topics: "" }), { sentiment: "neutral" });
	assert.deepEqual(setOf({ sentiment: "", op: "add", topics: " Product  Questions " }), { add_cluster: "product_questions" });
	assert.deepEqual(setOf({ sentiment: "", op: "replace", topics: "games, praise" }), { replace_cluster: ["games", "praise"] });
	assert.deepEqual(setOf({ sentiment: "positive", op: "exactly", topics: "a, b" }), { sentiment: "positive", clusters: ["a", "b"] });
	assert.deepEqual(filterOfDraft({ filter: { q: "x", cluster: "" } }), { q: "x" });
	assert.equal(whichText({ q: "war zone", cluster: "product_issues", min_confidence: 0.5 }), "Posts with “war zone” about product issues at least 50% certain");
	assert.equal(setText({ sentiment: "neutral", replace_cluster: ["a_b", "c"] }), "● neutral, about c instead of a b");
});
