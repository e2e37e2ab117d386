// When what is asked for, by a clock and an API of the test's own.

import assert from "node:assert/strict";
import { mock, test } from "node:test";

import { Loader } from "./loader.js";
import { initialState } from "./state.js";

// A loader of the desk whose API takes `slow` milliseconds for each answer.
function begin(slow) {
	const asked = [];
	let now = 0;
	mock.timers.enable({ apis: ["setTimeout"] });
	mock.method(performance, "now", () => now);
	globalThis.sessionStorage = /** @type {any} */ ({ getItem: () => null });
	globalThis.fetch = /** @type {any} */ (async (url) => {
		asked.push(url.split("/api/v1/")[1]);
		await new Promise((resolve) => setTimeout(resolve, slow));
		return { ok: true, text: async () => JSON.stringify({ insights: [], metadata: { total_count: 0, start_time: "2026-01-01", end_time: "2026-01-02" } }) };
	});
	const loader = new Loader(() => {}, () => true);
	loader.sync(initialState("", 0));
	loader.start();
	const pass = async (milliseconds) => {
		for (const end = now + milliseconds; now < end; now += 100) {
			await new Promise(setImmediate);
			mock.timers.tick(100);
		}
		await new Promise(setImmediate);
	};
	return { asked, loader, pass };
}

const lists = (asked) => asked.filter((path) => path.startsWith("insights?order=priority&limit=50")).length;

test("posts and figures are asked for first, since a browser asks six at a time", async (context) => {
	context.after(() => mock.reset());
	const { asked } = begin(100);
	assert.deepEqual(asked.slice(0, 2).map((path) => path.split("?")[0]), ["insights", "insights/summary"]);
	assert.equal(lists(asked.slice(0, 1)), 1);
});

test("after one slow answer news is asked for soon, after two a slow service is left alone", async (context) => {
	context.after(() => mock.reset());
	const { asked, loader, pass } = begin(2_000);
	await pass(2_100);
	assert.equal(lists(asked), 1);
	loader.nudge();
	await pass(2_800);
	assert.equal(lists(asked), 1);
	await pass(400);
	assert.equal(lists(asked), 2);
	await pass(2_000);
	loader.nudge();
	await pass(20_000);
	assert.equal(lists(asked), 2);
	await pass(11_000);
	assert.equal(lists(asked), 3);
});

test("what is quick is asked for again as soon as it may be, and without news when it has to be", async (context) => {
	context.after(() => mock.reset());
	const { asked, loader, pass } = begin(0);
	await pass(200);
	loader.nudge();
	await pass(3_000);
	assert.equal(lists(asked), 2);
	await pass(29_000);
	assert.equal(lists(asked), 2);
	await pass(1_500);
	assert.equal(lists(asked), 3);
});
