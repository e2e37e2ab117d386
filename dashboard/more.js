// What is not needed at first sight: the menu, the dialogs, times of the reader's own.

import { ownRange } from "./address.js";
import { fullTime, percent, span, topicName } from "./format.js";
import { PAGE_NAMES, note, viewLink } from "./parts.js";
import { periodOf } from "./periods.js";
import { answerTo } from "./questions.js";
import { h } from "./render.js";

export function menu(state) {
	const link = (part, name) => {
		const urls = answerTo(state, part).urls ?? [];
		return urls.map((url, index) => h("li", h("a", { href: url }, urls.length > 1 ? `${name} (${index + 1})` : name)));
	};
	const notices = {
		default: ["Notify me of outages", ["askForNotices"]], granted: ["Desktop notices are on", null],
		denied: ["The browser forbids notices", null], unsupported: null,
	}[state.notices];
	return h("div.menu", { id: "more-menu" },
		h("ul",
			h("li", h("button", { id: "pause", on: { click: ["pause"] } }, state.paused ? "Resume" : "Pause")),
			h("li", h("button", { id: "theme", on: { click: ["nextTheme"] } }, `Colours: ${state.theme}`)),
			notices && h("li", h("button", { disabled: !notices[1], on: { click: notices[1] } }, notices[0])),
			h("li", h("button", { on: { click: ["sheet", "keys"] } }, "Keys")),
			h("li", h("button", { on: { click: ["copyLink", "moving"] } }, "Copy link to this view")),
			h("li", h("button", { on: { click: ["copyLink", "fixed"] } }, "Copy link, fixed to this time")),
			h("li", viewLink(state, "a", { kiosk: "on" }, "For a screen on the wall"))),
		h("h2", "Data of this page"),
		h("ul", { id: "data" },
			exportUrl(state) && h("li", h("a", { download: "insights.ndjson", href: exportUrl(state, "ndjson") }, "Export NDJSON")),
			link("list", "Posts as JSON"), link("summary", "Figures as JSON"), link("before", "Figures of the time before"),
			link("trends", "What is rising"), link("people", "People"), link("failed", "Failed posts"), link("stats", "Analysis as JSON")),
		state.view.order === "urgent" && h("p.small", "The NDJSON is newest first."));
}

// Beside the list's number: what is done with the view as a whole.
export const listLinks = (state) => [
	h("button.link", { key: "copy", id: "copy", on: { click: ["copyLink", "moving"] } }, "Copy link"),
	state.view.order === "urgent" ? h("button.link", { key: "ranked-csv", id: "ranked-csv", on: { click: ["saveRanked"] } }, "Export CSV")
		: exportUrl(state) && h("a.link", { key: "csv", id: "csv", download: "insights.csv", href: exportUrl(state) }, "Export CSV"),
];

// As the list's own address has it, without what is particular to a page of it.
function exportUrl(state, format = "csv") {
	const url = (answerTo(state, "list").urls ?? answerTo(state, "summary").urls)?.[0];
	if (!url) return null;
	const [path, search] = url.split("?");
	const parameters = new URLSearchParams(search);
	for (const name of ["limit", "cursor", "interval"]) parameters.delete(name);
	parameters.set("format", format);
	if (format === "csv") parameters.set("bom", "true");
	if (state.view.q) parameters.set("q", state.view.q);
	return `${path.replace(/insights(\/summary)?$/, "insights/export")}?${parameters}`;
}

// --- print ----------------------------------------------------------------------------------------

// Where the reader is, for who prints it.
export function printHead(state) {
	const { view } = state;
	const period = periodOf(view, state.now, state.answers.extent?.value);
	const filter = [
		view.sentiment, view.cluster && topicName(view.cluster), view.author && `by ${view.author}`, view.q && `with “${view.q}”`,
		view.min_confidence && `certainty ${percent(view.min_confidence)} or more`,
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
		return ["see", { ...ownRange(start, end), page: state.view.page }];
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
	["g d, g f, g a", "desk, figures, analysis"], ["Esc", "close"], ["?", "this sheet"],
];

export function sheets(state) {
	if (state.askedForKey !== null) return keyDialog(state);
	if (state.sheet !== "keys") return null;
	return h("dialog", { key: "keys", id: "keys", "aria-labelledby": "keys-title", made: (dialog) => dialog.showModal(), on: { close: ["sheet", null] } },
		h("h2", { id: "keys-title" }, "Keys"),
		h("dl.pairs", KEYS.map(([key, what]) => [h("dt", h("kbd", key)), h("dd", what)])),
		h("button", { on: { click: ["sheet", null] } }, "Close"));
}

function keyDialog(state) {
	const submit = (event) => {
		event.preventDefault();
		return ["giveKey", event.target.elements.key.value.trim()];
	};
	return h("dialog", { key: "key", id: "key-dialog", "aria-labelledby": "key-title", made: (dialog) => dialog.showModal(), on: { cancel: (event) => event.preventDefault() } },
		h("form", { on: { submit } },
			h("h2", { id: "key-title" }, "API key"),
			h("p", { id: "key-why" }, state.askedForKey),
			h("label", "Key ", h("input", { id: "key", type: "password", pattern: "[!-~]+", required: true, autocomplete: "off" })),
			h("p.small", "Kept until this tab is closed."),
			h("button", "Sign in")));
}
