// What events make of the state, without a browser.

import assert from "node:assert/strict";
import { test } from "node:test";

import { DEFAULTS, readView, searchOf } from "./address.js";
import { answerTo } from "./questions.js";
import * as lists from "./lists.js";
import { change, initialState } from "./state.js";

const NOW = Date.parse("2026-03-01T12:00:00Z");
const { mergeLists, newRows } = lists;
const start = (search = "") => initialState(search, NOW, { loaded: { lists: { ...lists } } });
const row = (n) => ({ conversation_id: `conv_${n}`, timestamp: new Date(NOW - 1000 * n).toISOString(), text: `${n}` });
const list = (from, to, cursor = null, period = { start: NOW - 3_600_000 }) =>
	({ rows: Array.from({ length: to - from }, (_, n) => row(from + n)), cursor, total: 99, period });
const ids = ({ rows }) => rows.map(({ text }) => Number(text));

test("a view survives its address, and nonsense is left out", () => {
	const views = [
		{ range: "7d", sentiment: "negative", order: "urgent" }, { page: "figures", compare: "week", author: "<b>&=?", q: 'a "b c" d*' },
		{ range: "own", start_time: "2017-01-01T00:00:00.000Z", end_time: "2017-02-01T00:00:00.000Z", kiosk: "on" }, { open: "conv_0123abcd" },
	];
	for (const some of views) {
		const view = { ...DEFAULTS, ...some };
		assert.deepEqual(readView(searchOf(view)), view);
	}
	assert.equal(searchOf(readView("?range=9y&page=x&sentiment=blue&order=no&open=1&min_confidence=7&compare=z&own=y&zzz=1")), "");
	assert.equal(readView("?start_time=2020-01-02&end_time=2020-01-01").range, "24h");
});

test("no event changes the state that was there", () => {
	const freeze = (value) => (value && typeof value === "object" && !Object.isFrozen(value) && Object.values(Object.freeze(value)).forEach(freeze), value);
	let state = freeze(start("?page=analysis"));
	const events = [
		["tick", NOW + 1, NOW], ["see", { page: "desk", cluster: "praise" }], ["type", "search", "ref"], ["pick", 1], ["typing", false], ["menu", "more"],
		["sheet", "keys"], ["table", "topics", true], ["point", { from: 1, to: 2 }], ["live", { state: "live" }], ["pause"], ["theme", "dark"],
		["notices", "denied"], ["askForKey", "why"], ["note", "retry", "x"], ["readOnly"], ["moreFailed"], ["loaded", "open", {}], ["went", "?range=7d"], ["clear"],
	];
	for (const event of events) state = freeze(change(state, event));
	const { key } = { key: state.questions.list };
	for (const event of [["answered", "list", key, list(0, 50, "c"), []], ["failed", "list", key, { text: "no" }], ["more", key, list(50, 60)], ["showHeld"], ["kept", "list", { key, value: list(0, 1) }], ["forget", "list"]]) {
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
