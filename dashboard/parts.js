// What every page has: signs, search, filters, notices.

import { NO_FILTER, PAGES, changedView, isFiltered, searchOf } from "./address.js";
import { capital, count, percent, SIGNS, time, topicName } from "./format.js";
import { RANGES, periodOf } from "./periods.js";
import { answerTo } from "./questions.js";
import { h } from "./render.js";
import { alarmSign, currentAlarms, currentCalm, currentMachine, spentToday } from "./story.js";

export const PAGE_NAMES = { desk: "Desk", figures: "Figures", rules: "Rules and alerts", analysis: "Analysis" };

// A link to another view of this page, which goes there without loading it anew.
export function viewLink(state, name, patch, ...parts) {
	const plain = (event) => !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.altKey && event.button === 0;
	return h(name, { href: searchOf(changedView(state.view, patch)) || "?", on: { click: (event) => plain(event) && ["see", patch] } }, ...parts);
}

// A figure's name that says on hover and on focus what it is and what it is from.
export function hint(state, label, more = "") {
	const id = `hint-${label.replace(/\W+/g, "-")}`;
	const tip = [state.loaded.hints?.HINTS[label], more].filter(Boolean).join(" ");
	return h("span.hint", { key: `hint ${label}`, tabindex: 0, "aria-describedby": id }, label, h("span.tip", { id, role: "tooltip" }, tip));
}

export function mood(sentiment, ...rest) {
	return h("span.mood", { class: sentiment }, h("span", { "aria-hidden": "true" }, SIGNS[sentiment]), h("span.unseen", `${sentiment} `), ...rest);
}

// --- the head -------------------------------------------------------------------------------------

const MARKS = { good: "✓", care: "!", bad: "✕", "": "" };

function liveSign(state, period) {
	const { state: live, until } = state.live;
	if (state.paused) return "❚❚ Paused";
	if (live === "lost") return `✕ Connection lost, next try in ${Math.max(1, Math.ceil((until - state.now) / 1000))} s`;
	if (live === "stopped") return "❚❚ Resting";
	if (live !== "live") return "… Connecting";
	return period.moves ? "● Live" : "■ Fixed time";
}

export function head(state) {
	const alarms = currentAlarms(state);
	const machine = currentMachine(state);
	const spent = spentToday(answerTo(state, "stats").value);
	const period = periodOf(state.view, state.now, state.answers.extent?.value);
	return h("header",
		h("a.skip", { href: "#list-title" }, "Skip to the posts"),
		h("h1", "Insights"),
		alarms.length
			? viewLink(state, "a.pill.alarm", { ...NO_FILTER, page: "desk", order: "newest", range: "1h", cluster: alarms[0].cluster, open: "" },
				{ id: "customers" }, h("span", { "aria-hidden": "true" }, "▲ "), alarmSign(alarms[0]))
			: h("span.pill", { id: "customers" }, currentCalm(state)),
		viewLink(state, "a.pill", { page: "analysis", open: "" }, { id: "health", class: machine.state, title: machine.long },
			MARKS[machine.state] && h("span", { "aria-hidden": "true" }, `${MARKS[machine.state]} `), machine.short, spent && h("span.spent", ` · ${spent} today`)),
		bell(state),
		h("span.pill.plain", { id: "live", class: state.live.state, role: "status" }, liveSign(state, period)),
		h("nav.pages", { "aria-label": "Pages" },
			PAGES.map((page) => viewLink(state, "a", { page, open: "" }, { key: page, "aria-current": page === state.view.page ? "page" : null }, PAGE_NAMES[page]))),
		h("div.menu-place",
			h("button", { id: "menu", "aria-expanded": String(state.menu === "more"), "aria-haspopup": "true", on: { click: ["menu", "more"] } }, "More"),
			state.menu === "more" && state.loaded.more?.menu(state)));
}

// How many alerts are open; nothing where none are.
function bell(state) {
	const number = answerTo(state, "bell").value?.metadata.open_count;
	return number > 0 && viewLink(state, "a.pill", { page: "rules", open: "" }, { id: "bell", class: "bad" }, h("span", { "aria-hidden": "true" }, "⚑ "), count(number), h("span.word", number === 1 ? " alert" : " alerts"));
}

// --- search and filters ---------------------------------------------------------------------------

export function searchField(state) {
	const { suggest } = state.loaded;
	const found = suggest?.suggestions(state) ?? [];
	const text = state.typed.search ?? state.view.q;
	return h("div.search", { key: "search" },
		h("input", {
			id: "search", type: "search", value: text, placeholder: "Search texts, people, topics…", dir: "auto", autocomplete: "off",
			role: "combobox", "aria-label": "Search texts, people, topics", "aria-expanded": String(found.length > 0), "aria-controls": "suggestions",
			"aria-autocomplete": "list", "aria-activedescendant": state.pick >= 0 ? `suggestion-${state.pick}` : null,
			on: {
				input: (event) => ["type", "search", event.target.value],
				focus: ["typing", true],
				blur: ["typing", false],
				search: (event) => !event.target.value && state.view.q && ["see", { q: "" }],
				keydown: (event) => (suggest ? suggest.onKey(state, event) : event.key === "Enter" && ["takeTyped"]),
			},
		}),
		h("kbd", { "aria-hidden": "true" }, "/"),
		h("ul", { id: "suggestions", role: "listbox", "aria-label": "Suggestions", hidden: !found.length },
			suggest?.options(state, found)));
}

const select = (id, label, value, options, on) =>
	h("label", { key: id }, h("span.unseen", label), h("select", { id, "aria-label": label, value, on: { change: on } },
		options.map(([key, name]) => h("option", { key, value: key }, name))));

const COMPARED = [["before", "vs the time before"], ["week", "vs a week earlier"], ["none", "not compared"]];

export function filters(state) {
	const { view } = state;
	const own = view.range === "own" || state.menu === "own";
	const period = periodOf(view, state.now, state.answers.extent?.value);
	const certainties = [...new Set(["", "0.5", "0.7", "0.9", view.min_confidence])].sort();
	return h("div.filters", { key: "filters" },
		select("range", "Time", own ? "own" : view.range, [...Object.entries(RANGES).map(([key, [name]]) => [key, name]), ["own", "Custom…"]],
			({ target }) => (target.value === "own" ? ["menu", "own"] : ["see", { range: target.value, order: "newest" }])),
		own && state.loaded.more?.ownTimes(state, period),
		view.range !== "all" && select("compare", "Compared", view.compare, COMPARED, ({ target }) => ["see", { compare: target.value }]),
		select("sentiment", "Mood", view.sentiment, [["", "All moods"], ["negative", "▼ Negative"], ["neutral", "● Neutral"], ["positive", "▲ Positive"]],
			({ target }) => ["see", { sentiment: target.value }]),
		select("certainty", "Certainty", view.min_confidence, certainties.map((value) => [value, value ? `Certainty: ${percent(value)} or more` : "Certainty: any"]),
			({ target }) => ["see", { min_confidence: target.value }]),
		state.loaded.more?.moreFilters(state, select),
		chips(state));
}

function chips(state) {
	const { view } = state;
	const names = {
		cluster: view.cluster && capital(topicName(view.cluster)),
		author: view.author,
		q: view.q && `“${view.q.replace(/\*$/, "…")}”`,
		end_time: view.range === "all" && view.end_time && `until ${time(view.end_time, state.now)}`,
	};
	const shown = Object.entries(names).filter(([, name]) => name);
	return [
		shown.map(([filter, name]) => h("button.chip", { key: `chip ${filter}`, "aria-label": `Without ${name}`, on: { click: ["see", { [filter]: "" }] } },
			h("span", { dir: "auto" }, name), h("span", { "aria-hidden": "true" }, " ×"))),
		isFiltered(view) && h("button.link", { id: "clear", key: "clear", on: { click: ["clear"] } }, "Clear filters"),
	];
}

// --- notices --------------------------------------------------------------------------------------

export function note(state, place) {
	const found = state.notes[place];
	return found && h("p.note", { key: `note ${place}`, class: found.bad ? "bad" : "", role: "status" }, found.text, " ",
		h("button.link", { "aria-label": "Dismiss", on: { click: ["note", place, null] } }, "×"));
}

// What went wrong with what is asked for now: gone as soon as that is.
export function problems(state) {
	const found = new Set();
	const stopped = answerTo(state, "stats").problem?.mends; // which is said already
	for (const part of /** @type {(keyof Parts)[]} */ (Object.keys(state.questions))) {
		const { problem } = answerTo(state, part);
		if (problem && !(stopped && problem.mends) && part !== "stats" && !OF_THEIR_OWN.has(part)) found.add(problem.text + (problem.mends ? " Trying again; what is shown may be old." : ""));
	}
	return found.size > 0 && h("div.notice.bad", { id: "problem", key: "problem", role: "alert" }, [...found].map((text) => h("p", { key: text }, text)));
}

const OF_THEIR_OWN = new Set(["open", "earlier", "authors", "people", "near", "person", "queue", "hour", "claimed", "snoozed", "plan", "plans", "bell", "endpoints"]); // told where they are shown

export function machineNotice(state) {
	const machine = currentMachine(state);
	if (machine.state !== "bad" && !state.answers.stats?.value?.fallback?.notice) return null;
	return h("p.notice", { id: "trouble", key: "trouble", class: machine.state === "bad" ? "bad" : "", role: "alert" }, machine.long);
}
