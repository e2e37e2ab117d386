// The machine: what waits, what it costs, what failed and why.

import { machineFacts, reasonOf, tries } from "./facts.js";
import { count, time } from "./format.js";
import { note, problems, viewLink } from "./parts.js";
import { answerTo } from "./questions.js";
import { h } from "./render.js";
import { currentMachine, queueOf } from "./story.js";
import { mayWrite } from "./work.js";

export function analysis(state) {
	const { value: stats } = answerTo(state, "stats");
	const machine = currentMachine(state);
	return h("main.analysis", { id: "page", key: "analysis" },
		problems(state), note(state, "list"),
		h("section", { key: "machine" },
			h("h2", "Analysis"),
			h("p", { id: "trouble", class: machine.state === "good" || !machine.state ? "" : `notice ${machine.state === "bad" ? "bad" : ""}`, role: "status" }, machine.state === "good" ? `${machine.short}. ${machine.long}` : machine.long || `${machine.short}.`),
			stats?.analyser.notice && h("p.small", { id: "offline" }, `${stats.analyser.notice} Set GROK_KEY to use Grok.`),
			stats && h("dl.pairs", { id: "machine" }, machineFacts(stats).map(([name, value, used]) => [
				h("dt", { key: `${name} dt` }, name),
				h("dd", { key: name }, value, used < Infinity && h("meter", { value: used, "aria-label": `${name}, used` }))]))),
		failed(state, stats));
}

function failed(state, stats) {
	const { value } = answerTo(state, "failed");
	const number = value?.metadata.total_count ?? queueOf(stats).failed;
	const conversations = value?.conversations ?? [];
	return h("section", { key: "failed", id: "failed-panel" },
		h("div.head", h("h2", { id: "failed-title", tabindex: -1 }, "Could not be analysed: ", h("span", { id: "failed-total" }, count(number))),
			number > 0 && mayWrite(state) && h("button", { id: "retry-all", on: { click: ["retry", "all"] } }, "Try all again")),
		note(state, "retry"),
		!mayWrite(state) && h("p.small", "Your key may read only: somebody else has to try them again."),
		!number && h("p.small", "Every post so far could be analysed."),
		h("ul", { id: "failed" }, conversations.map((one) => {
			const reason = reasonOf(one.last_error);
			return h("li", { key: one.conversation_id, "data-key": one.conversation_id },
				h("p.text", { dir: "auto" }, one.text),
				h("p.error", { title: one.last_error, dir: "auto" }, reason.text),
				h("div.facts", time(one.created_at, state.now), h("span", tries(one.attempts)),
					viewLink(state, "a", { page: "desk", open: one.conversation_id }, "Details"),
					mayWrite(state) && h("button", { "aria-label": `Try ${one.conversation_id} again`, on: { click: ["retry", one.conversation_id] } }, reason.mends ? "Try again" : "Try again all the same")));
		})),
		value?.metadata.next_cursor && h("button", { id: "more-failed", on: { click: ["moreFailed"] } }, "Show more"));
}
