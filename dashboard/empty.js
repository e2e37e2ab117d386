// Why there is nothing in a time, and where there is something.

import { NO_FILTER, isFiltered, ownRange } from "./address.js";
import { count, plural, shortDay } from "./format.js";
import { DAY } from "./periods.js";
import { viewLink } from "./parts.js";
import { answerTo } from "./questions.js";
import { h } from "./render.js";
import { allTimes } from "./search.js";

export function whyNothing(state, { waiting, completed, failed }) {
	if (completed) return elsewhere(state);
	if (!waiting && failed) {
		return h("p.notice", { id: "none-analysed" }, h("b", failed === 1 ? "The only post" : `All ${count(failed)} posts`), " could not be analysed. ",
			viewLink(state, "a.button", { page: "analysis" }, "Show why"));
	}
	if (!waiting) return nothingYet(state);
	return h("p.notice", { id: "working" }, h("b", plural(waiting, "post")), " to be analysed. They appear here by themselves.");
}

function nothingYet(state) {
	return h("div.notice", { id: "empty" },
		h("h2", "Nothing here yet"),
		h("p", "Hand in a conversation; it appears within a moment:"),
		h("pre", { tabindex: 0 }, `curl ${state.service}/api/v1/conversations -H 'Content-Type: application/json' \\\n  -d '{"text": "Still waiting on my order...", "author": "customer123"}'`),
		h("p", "Or load the built-in sample:"),
		h("pre", { tabindex: 0 }, `API_URL=${state.service} .venv/bin/python ingest_data.py`));
}

// Nothing in this time: where there is something.
function elsewhere(state) {
	const { value: extent } = answerTo(state, "extent");
	const filtered = isFiltered(state.view);
	if (!extent?.newest) return null;
	return h("div.notice", { id: "elsewhere" },
		h("p", filtered ? "Nothing in this time with these filters." : "Nothing in this time.", ` The newest post is of ${shortDay(extent.newest, 0)}.`, allTimes(state)),
		h("p.buttons",
			filtered && h("button", { id: "widen", on: { click: ["clear"] } }, "Clear filters"),
			h("button", { id: "show-all", on: { click: ["see", { ...NO_FILTER, range: "all", order: "newest" }] } }, `Show all ${count(extent.total)}`),
			h("button", { id: "newest", on: { click: ["see", { ...NO_FILTER, ...ownRange(extent.newest - 7 * DAY, extent.newest), order: "newest" }] } }, "The last week of it")));
}
