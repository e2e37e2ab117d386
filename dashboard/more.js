// What is not needed at first sight: the menu, the dialogs, times of the reader's own.

import { ownRange } from "./address.js";
import { urlOf } from "./api.js";
import { languageName } from "./facts.js";
import { fullTime, percent, span, tenths, topicName } from "./format.js";
import { PAGE_NAMES, note, viewLink } from "./parts.js";
import { periodOf, timesOf } from "./periods.js";
import { answerTo } from "./questions.js";
import { h } from "./render.js";

export function menu(state) {
	const link = (part, name) => {
		const urls = answerTo(state, part).urls ?? [];
		return urls.map((url, index) => h("li", h("a", { href: url }, urls.length > 1 ? `${name} (${index + 1})` : name)));
	};
	const notices = {
		default: ["Notify me when a topic rises", ["askForNotices"]], granted: ["Desktop notices are on", null],
		denied: ["The browser forbids notices", null], unsupported: null,
	}[state.notices];
	return h("div.menu", { id: "more-menu" },
		h("ul",
			h("li", h("button", { id: "pause", on: { click: ["pause"] } }, state.paused ? "Resume" : "Pause")),
			h("li", h("button", { id: "theme", on: { click: ["nextTheme"] } }, `Colours: ${state.theme}`)),
			notices && h("li", h("button", { disabled: !notices[1], on: { click: notices[1] } }, notices[0])),
			h("li", h("button", { on: { click: ["sheet", "keys"] } }, "Keys")),
			h("li", h("button", { id: "keys-switch", on: { click: ["switchKeys"] } }, `Single keys: ${state.keys ? "on" : "off"}`)),
			state.me && h("li", h("button", { on: { click: ["sheet", "name"] } }, `Your name: ${state.me}`)),
			h("li", h("button", { on: { click: ["copyLink", "moving"] } }, "Copy link to this view")),
			h("li", h("button", { on: { click: ["copyLink", "fixed"] } }, "Copy link, fixed to this time")),
			h("li", viewLink(state, "a", { kiosk: "on" }, "For a screen on the wall"))),
		h("h2", "Reports"),
		h("ul", { id: "reports" },
			h("li", h("a", { href: urlOf("report", { period: "day", format: "html" }) }, "Yesterday")),
			h("li", h("a", { href: urlOf("report", { period: "week", format: "html" }) }, "The last seven days"))),
		h("h2", "Data of this page"),
		h("ul", { id: "data" },
			exportUrl(state) && h("li", h("a", { download: "insights.csv", href: exportUrl(state) }, "Export CSV")),
			exportUrl(state) && h("li", h("a", { download: "insights.ndjson", href: exportUrl(state, "ndjson") }, "Export NDJSON")),
			link("list", "Posts as JSON"), link("summary", "Figures as JSON"), link("before", "Figures of the time before"),
			link("trends", "What is rising"), link("people", "People"), link("failed", "Failed posts"), link("stats", "Analysis as JSON")));
}

// What is asked for less often: shown when it is wanted, or set.
/** @type {Record<string, [string, [string, string][]]>} */
const OTHERS = {
	language: ["Language", [["", "All languages"], ...["en", "de", "es", "fr", "it", "pt", "nl", "pl", "tr", "ru", "ar", "hi", "zh", "ja", "ko"].map((code) => /** @type {[string, string]} */ ([code, languageName(code)])), ["und", "Language unknown"]]],
	urgency: ["Urgency", [["", "Urgency: any"], ["now", "Urgency: now"], ["soon", "Urgency: soon"], ["none", "Urgency: none"]]],
	labelled: ["Last word", [["", "Whoever judged"], ["person", "Put right by a person"], ["rule", "By a rule"], ["model", "By the model"]]],
	handling: ["Handling", [["", "Handled or not"], ["open", "Open"], ["claimed", "Claimed"], ["answered", "Answered"], ["snoozed", "Snoozed"], ["ignored", "Ignored"]]],
};
export function moreFilters(state, select) {
	const { view } = state;
	const all = state.tables.filters;
	return [
		Object.entries(OTHERS).map(([name, [label, options]]) => (all || view[name]) &&
			select(name, label, view[name], options.some(([value]) => value === view[name]) ? options : [...options, [view[name], view[name]]], ({ target }) => ["see", { [name]: target.value }])),
		h("button.link", { key: "more-filters", id: "more-filters", "aria-expanded": String(Boolean(all)), on: { click: ["table", "filters", !all] } }, all ? "Fewer filters" : "More filters"),
	];
}

// For a colleague: moving with the clock, or of the time that is shown.
export const copyLinks = (state) => [
	h("button.link", { key: "copy", id: "copy", on: { click: ["copyLink", "moving"] } }, "Copy link"),
	periodOf(state.view, state.now, state.answers.extent?.value).moves &&
		h("button.link", { key: "copy-fixed", id: "copy-fixed", title: "Copy a link to this time, which does not move on", on: { click: ["copyLink", "fixed"] } }, "Fixed link"),
];

// Beside the list's number: what is done with the view as a whole.
export const listLinks = (state) => [
	copyLinks(state),
	exportUrl(state) && h("a.link", { key: "csv", id: "csv", download: "insights.csv", href: exportUrl(state) }, "Export CSV"),
];

export const ownNote = (state) =>
	answerTo(state, "person").value?.authors.some(({ author, own }) => own && author === state.view.author) &&
		h("p.small", { key: "own", id: "own" }, "An account of your own: its posts are only listed by its name, and count in no mood, topic or trend.");

// As the list's own address has it, without what is particular to a page of it. A file has the newest
// first, whatever the order of the list.
function exportUrl(state, format = "csv") {
	const url = (answerTo(state, "list").urls ?? answerTo(state, "summary").urls)?.[0];
	if (!url) return null;
	const [path, search] = url.split("?");
	const parameters = new URLSearchParams(search);
	const { value: list } = answerTo(state, "list");
	if (parameters.get("order") === "priority" && list) {
		for (const [name, value] of Object.entries({ ...timesOf(list.period), handling: "open" })) parameters.set(name, value);
	}
	for (const name of ["limit", "cursor", "interval", "order"]) parameters.delete(name);
	parameters.set("format", format);
	if (format === "csv") {
		parameters.set("bom", "true");
		// Excel splits a file at the sign that the reader's language has in lists.
		if (tenths(0.5).includes(",")) parameters.set("delimiter", "semicolon");
	}
	if (state.view.q) parameters.set("q", state.view.q);
	return `${path.replace(/insights(\/summary)?$/, "insights/export")}?${parameters}`;
}

// --- print ----------------------------------------------------------------------------------------

// Where the reader is, for who prints it.
export function printHead(state) {
	const { view } = state;
	const period = periodOf(view, state.now, state.answers.extent?.value);
	const filter = [
		view.sentiment, view.cluster && topicName(view.cluster), view.author && `by ${view.author}`,
		view.q && view.page !== "figures" && `with “${view.q}”`,
		view.min_confidence && `certainty ${percent(view.min_confidence)} or more`, view.language && languageName(view.language),
		view.urgency && `urgency ${view.urgency}`, view.labelled && `judged by a ${view.labelled}`, view.handling,
	].filter(Boolean);
	return h("div.print-head", { key: "print" },
		h("h1", `Insights: ${PAGE_NAMES[view.page]}`),
		h("p", `${period.name}: ${span(period, state.now)}. ${filter.length ? `Only: ${filter.join(", ")}.` : "All posts."} Printed ${fullTime(state.now)}.`));
}

// --- times ----------------------------------------------------------------------------------------

// For an input of the reader's local time, and back.
export function toLocal(moment) {
	const shifted = moment - new Date(moment).getTimezoneOffset() * 60_000;
	return new Date(shifted).toISOString().slice(0, 16);
}
export const fromLocal = (text) => new Date(text).getTime();

export function ownTimes(state, period) {
	const from = state.typed.from ?? toLocal(period.start);
	const to = state.typed.to ?? toLocal(period.end);
	// What is typed counts when it is whole: a year's first digit is no year.
	const take = (event) => {
		event.preventDefault();
		const [start, end] = [state.typed.from ? fromLocal(from) : period.start, state.typed.to ? fromLocal(to) : period.end];
		if (!(start > -62e12 && end < 253e12)) return ["note", "own", "Please give both times in full.", true];
		if (start > end) return ["note", "own", "The end is before the start.", true];
		return ["see", { ...ownRange(start, end), order: "newest" }];
	};
	const field = (id, label, value) => h("label", { key: id }, label,
		h("input", { id, type: "datetime-local", max: "9999-12-31T23:59", value, on: { input: (event) => ["type", id, event.target.value] } }));
	return h("form.own", { key: "own", novalidate: true, on: { submit: take } },
		field("from", "from ", from), field("to", "to ", to),
		h("button", "Show"), note(state, "own"));
}

// --- dialogs --------------------------------------------------------------------------------------

const KEYS = [
	["j, k", "next post, post before"], ["Enter", "open"], ["o", "open the post where it was written"], ["/", "search"],
	["c", "claim: it is yours for 15 minutes"], ["a", "answered"], ["s", "snooze"], ["i", "ignore"],
	["-, 0, +", "it is negative, neutral, positive"], ["t", "change its topics"], ["r", "change all like this"], ["u", "undo what was done last, for ten seconds"],
	["g d, g f, g r, g a", "desk, figures, rules, analysis"], ["Esc", "close"], ["?", "this sheet"],
];

export function sheets(state) {
	if (state.askedForKey !== null) return keyDialog(state);
	if (state.sheet !== "keys") return null;
	return h("dialog", { key: "keys", id: "keys", "aria-labelledby": "keys-title", made: (dialog) => dialog.showModal(), on: { close: ["sheet", null] } },
		// Else the focus goes to the button at the end, and a small window with it.
		h("h2", { id: "keys-title", tabindex: -1, autofocus: true }, "Keys"),
		h("dl.pairs", KEYS.map(([key, what]) => [h("dt", h("kbd", key)), h("dd", what)])),
		h("button", { on: { click: (event) => event.target.closest("dialog").close() } }, "Close"));
}

// Where none was given the API tells programs how to send one.
const whyKey = (said) => (!said || /Bearer/.test(said) ? "This service needs a key." : said);

function keyDialog(state) {
	const submit = (event) => {
		event.preventDefault();
		return ["giveKey", event.target.elements.key.value.trim()];
	};
	return h("dialog", { key: "key", id: "key-dialog", "aria-labelledby": "key-title", made: (dialog) => dialog.showModal(), on: { cancel: (event) => event.preventDefault() } },
		h("form", { on: { submit } },
			h("h2", { id: "key-title" }, "API key"),
			h("p", { id: "key-why" }, whyKey(state.askedForKey)),
			h("label", "Key ", h("input", { id: "key", type: "password", pattern: "[!-~]+", required: true, autocomplete: "off" })),
			h("p.small", "Kept until this tab is closed."),
			h("button", "Sign in")));
}
