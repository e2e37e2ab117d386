// What is looked at, as the address tells it: a query string in, a view out, and back. Pure.

import { RANGES } from "./periods.js";

export const NO_FILTER = { sentiment: "", cluster: "", author: "", q: "", min_confidence: "" };
export const DEFAULTS = {
	page: "desk", range: "24h", start_time: "", end_time: "", compare: "before", ...NO_FILTER,
	order: "newest", open: "", kiosk: "",
};
export const PAGES = ["desk", "figures", "rules", "analysis"];
const ALLOWED = {
	page: /^(figures|rules|analysis)$/,
	range: new RegExp(`^(${Object.keys(RANGES).join("|")})$`),
	compare: /^(week|none)$/,
	sentiment: /^(positive|neutral|negative)$/,
	min_confidence: /^(0?\.\d+|1(\.0+)?)$/,
	order: /^urgent$/,
	open: /^conv_[0-9a-f]{8}$/,
};

// A view has the fields of `DEFAULTS`, all text. What makes no sense is left out.
export function readView(search) {
	const view = { ...DEFAULTS };
	for (const [name, value] of new URLSearchParams(search)) {
		if (name === "kiosk") view.kiosk = "on";
		else if (name in view && (ALLOWED[name] ?? /./).test(value)) view[name] = value;
	}
	const [start, end] = [view.start_time, view.end_time].map(Date.parse);
	if (start <= end) view.range = "own";
	else view.start_time = view.end_time = "";
	if (view.sentiment && view.sentiment !== "negative") view.order = "newest"; // nothing is urgent there
	return view;
}

export function searchOf(view) {
	const changed = Object.entries(view).filter(([name, value]) => value !== DEFAULTS[name] && value !== "own");
	const parameters = new URLSearchParams(changed.filter(([name]) => name !== "kiosk"));
	return changed.length ? `?${parameters}${view.kiosk ? `${parameters.size ? "&" : ""}kiosk` : ""}` : "";
}

// The change that shows the time between two moments.
export const ownRange = (start, end) => ({ range: "own", start_time: new Date(start).toISOString(), end_time: new Date(end).toISOString() });

// What the list and the figures share; only the list knows `q`.
export const filterOf = ({ sentiment, cluster, min_confidence, author }) => ({ sentiment, cluster, min_confidence, author });

export const isFiltered = (view) => Object.keys(NO_FILTER).some((name) => view[name]);
