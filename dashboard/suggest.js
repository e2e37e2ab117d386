// What is typed into the search could mean, and how it is chosen.

import { plural, topicName } from "./format.js";
import { answerTo } from "./questions.js";
import { h } from "./render.js";
import { toQuery, topicsLike } from "./search.js";

// What is typed could mean: the words of a text, a topic, a person.
export function suggestions(state) {
	const typed = (state.typed.search ?? "").trim();
	if (!typed || !state.typing) return [];
	const clusters = (answerTo(state, "topics").value ?? answerTo(state, "summary").value)?.clusters ?? [];
	const people = answerTo(state, "authors").value?.authors ?? [];
	/** @type {{ kind: string, name: string, patch: Record<string, string>, count?: number, own?: boolean, value?: string }[]} */
	const found = [{ kind: "words", name: `Texts with “${toQuery(state.typed.search).replace(/\*$/, "…")}”`, patch: { q: toQuery(state.typed.search) } }];
	for (const topic of topicsLike(typed, clusters, topicName).slice(0, 5)) {
		found.push({ kind: "topic", name: `Topic: ${topicName(topic.cluster)}`, count: topic.count, value: topicName(topic.cluster), patch: { cluster: topic.cluster } });
	}
	for (const person of people) {
		// All of them, as the count says: who looks for a person does not know when.
		found.push({ kind: "person", name: person.author, count: person.count, own: person.own, value: person.author, patch: { author: person.author, range: "all" } });
	}
	return found;
}

// What Enter takes: what is chosen by keys, else what is spelled out, else the words.
function meant(state, found) {
	const typed = state.typed.search?.trim().toLowerCase();
	if (state.pick >= 0) return found[state.pick];
	const exact = (one) => one.value?.toLowerCase() === typed || one.patch.cluster === typed;
	const person = typed?.startsWith("@") && found.find(({ kind, value }) => kind === "person" && value.toLowerCase() === typed.slice(1));
	return found.find((one) => one.kind === "topic" && exact(one)) ?? (person || found[0]);
}

// What is searched for may be of any time: it is no list of what is to be answered.
const choose = (one) => ["see", { ...one.patch, order: "newest", open: "" }];

// What Enter does.
export function take(state) {
	const found = suggestions(state);
	return found.length ? choose(meant(state, found)) : ["see", { q: toQuery(state.typed.search ?? state.view.q), order: "newest" }];
}

// What a key does in the field.
export function onKey(state, event) {
	const found = suggestions(state);
	const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
	if (step && found.length) {
		event.preventDefault();
		return ["pick", (state.pick + step + found.length) % found.length];
	}
	if (event.key === "Escape") return (state.typed.search ?? state.view.q) ? ["type", "search", ""] : ["typing", false];
	if (event.key !== "Enter") return null;
	event.preventDefault();
	return take(state);
}

export const options = (state, found) => found.map((one, index) => h("li", {
	key: one.kind + one.name, id: `suggestion-${index}`, role: "option", "aria-selected": String(index === state.pick),
	// Before the field loses the focus.
	on: { pointerdown: (event) => (event.preventDefault(), choose(one)) },
}, h("span", { dir: "auto" }, one.name), one.count !== undefined && h("span.small", `${plural(one.count, "post")}${one.own ? ", your own account" : ""}`)));
