// What is asked for once somebody listens again, by a clock and an API of the test's own.

import assert from "node:assert/strict";
import { mock, test } from "node:test";

import { change, initialState } from "./state.js";

globalThis.window = /** @type {any} */ (globalThis);
globalThis.sessionStorage = /** @type {any} */ ({ getItem: () => null });
const { catchUp } = await import("./live.js");

const OPEN = { state: "open", by: null, until: null, at: null };
const rowOf = (number) => ({ conversation_id: `conv_${number}`, handling: OPEN });

// A page with a list of so many posts, of which the API's own has the first `found` by now.
function begin(count, found) {
	const asked = [];
	let sent = 0;
	let state = initialState("?order=newest", 0);
	const rows = Array.from({ length: count }, (_, number) => rowOf(number));
	const list = { rows, cursor: null, total: count, order: "newest", period: { start: 0, end: 1 } };
	const send = (event) => {
		sent++;
		state = change(state, event);
	};
	const answered = { ...OPEN, state: "answered", by: "ben" };
	const pages = { insights: rows.slice(0, found).map((row) => ({ ...row, handling: answered })), metadata: { total_count: found, next_cursor: null } };
	globalThis.fetch = /** @type {any} */ (async (url) => {
		asked.push(url);
		await new Promise(setImmediate);
		const [, id] = /conversations\/(\w+)/.exec(url) ?? [];
		return { ok: true, text: async () => JSON.stringify(id ? { conversation_id: id, insight: { handling: answered } } : pages) };
	});
	send(["answered", "list", state.questions.list, list, []]);
	return { asked, send, page: () => ({ state, send }), states: () => state.answers.list.value.rows.map(({ handling }) => handling.by), sent: () => sent };
}

test("what comes in while a list is asked for is newer than its answer", async () => {
	const { page, send, states } = begin(3, 3);
	const done = catchUp(page);
	send(["handled", "conv_1", { ...OPEN, state: "ignored", by: "ana" }]);
	await done;
	assert.deepEqual(states(), ["ben", "ana", "ben"]);
});

test("many posts are shown at once", async () => {
	const { page, sent, states } = begin(1000, 1000);
	await catchUp(page);
	assert.equal(states().filter((by) => by === "ben").length, 1000);
	assert.equal(sent(), 2);
});

test("posts that a list has no longer are asked for ten a second, for as long as it is shown", async (context) => {
	context.after(() => mock.reset());
	mock.timers.enable({ apis: ["setTimeout"] });
	const { asked, page, send, states } = begin(200, 0);
	catchUp(page);
	const pass = async (seconds) => {
		for (let step = 0; step < 20 * seconds; step++) {
			for (let turn = 0; turn < 5; turn++) await new Promise(setImmediate);
			mock.timers.tick(50);
		}
	};
	await pass(2);
	assert.ok(asked.length > 15 && asked.length < 25, `${asked.length}`);
	assert.equal(states()[0], "ben");
	send(["see", { sentiment: "negative" }]);
	await pass(2);
	assert.ok(asked.length < 25, `${asked.length}`);
});
