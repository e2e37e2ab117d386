// What is looked at, as the address tells it: a query string in, a view out, and back. Pure.

import { RANGES } from "./periods.js";

export const NO_FILTER = {
	sentiment: "", cluster: "", author: "", q: "", min_confidence: "", language: "", urgency: "", labelled: "", handling: "",
};
const EVERYTHING = { range: "24h", start_time: "", end_time: "", ...NO_FILTER };
export const DEFAULTS = { page: "desk", compare: "before", ...EVERYTHING, order: "priority", open: "", plan: "", kiosk: "" };
export const PAGES = ["desk", "figures", "rules", "analysis"];
const ALLOWED = {
	page: /^(figures|rules|analysis)$/,
	range: new RegExp(`^(${Object.keys(RANGES).join("|")})$`),
	compare: /^(week|none)$/,
	sentiment: /^(positive|neutral|negative)$/,
	min_confidence: /^(0?\.\d+|1(\.0+)?)$/,
	language: /^[a-z]{2,3}$/,
	urgency: /^(none|soon|now)$/,
	labelled: /^(person|rule|model)$/,
	handling: /^(open|claimed|answered|snoozed|ignored)$/,
	order: /^(newest|priority)$/,
	open: /^conv_[0-9a-f]{8}$/,
	plan: /^plan_[0-9a-f]{8}$/,
};

// Where the address does not say: what is to be answered, unless it asks for some posts of its own.
const usualOrder = (view) => (Object.keys(EVERYTHING).some((name) => view[name] !== EVERYTHING[name]) ? "newest" : "priority");

// A view has the fields of `DEFAULTS`, all text. What makes no sense is left out. All of the time may
// have an end.
export function readView(search) {
	const view = { ...DEFAULTS, order: "" };
	for (const [name, value] of new URLSearchParams(search)) {
		if (name === "kiosk") view.kiosk = "on";
		else if (name in view && (ALLOWED[name] ?? /./).test(value)) view[name] = value;
	}
	const [start, end] = [view.start_time, view.end_time].map(Date.parse);
	if (start <= end) view.range = "own";
	else if (view.range !== "all" || view.start_time || !end) view.start_time = view.end_time = "";
	view.order ||= usualOrder(view);
	if (view.handling && view.order === "priority") view.order = "newest"; // what is to be answered is open
	return view;
}

// A view with a change made of it. Who chooses another range has no time of their own any more.
export const changedView = (view, patch) => ({ ...view, ...(patch.range && { start_time: "", end_time: "" }), ...patch });

export function searchOf(view) {
	const usual = { ...DEFAULTS, order: usualOrder(view) };
	const changed = Object.entries(view).filter(([name, value]) => value !== usual[name] && value !== "own");
	const parameters = new URLSearchParams(changed.filter(([name]) => name !== "kiosk"));
	return changed.length ? `?${parameters}${view.kiosk ? `${parameters.size ? "&" : ""}kiosk` : ""}` : "";
}

// The change that shows the time between two moments.
export const ownRange = (start, end) => ({ range: "own", start_time: new Date(start).toISOString(), end_time: new Date(end).toISOString() });

// What the list and the figures share; only the list knows `q`.
export function filterOf(view) {
	const { q, ...names } = NO_FILTER;
	return Object.fromEntries(Object.keys(names).map((name) => [name, view[name]]));
}

export const isFiltered = (view) => Object.keys(NO_FILTER).some((name) => view[name]);
