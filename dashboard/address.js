// What is looked at, as the address tells it: a query string in, a view out, and back.

const HOUR = 3_600_000;
export const DAY = 24 * HOUR;
const RANGES = {
	"1h": [HOUR, "minute", "the last hour"],
	"24h": [DAY, "hour", "the last 24 hours"],
	"7d": [7 * DAY, "hour", "the last 7 days"],
	"30d": [30 * DAY, "day", "the last 30 days"],
};
const MAX_DAYS = 1999; // the API gives 2,000 buckets at most

export const NO_FILTER = { sentiment: "", cluster: "", min_confidence: "", author: "", q: "" };
const DEFAULTS = { range: "24h", start_time: "", end_time: "", ...NO_FILTER, order: "newest", window: "1h" };
const ALLOWED = {
	range: /^(1h|24h|7d|30d)$/,
	sentiment: /^(positive|neutral|negative)$/,
	min_confidence: /^(0?\.\d+|1(\.0+)?)$/,
	order: /^urgent$/,
	window: /^(15m|6h|24h)$/,
};

// A view has the fields of `DEFAULTS`, all text. What makes no sense is left out.
export function readView(search) {
	const view = { ...DEFAULTS };
	for (const [name, value] of new URLSearchParams(search)) {
		if (name in view && (ALLOWED[name] ?? /./).test(value)) view[name] = value;
	}
	const days = (Date.parse(view.end_time) - Date.parse(view.start_time)) / DAY;
	if (days >= 0 && days <= MAX_DAYS) view.range = "own";
	else view.start_time = view.end_time = "";
	if (view.sentiment && view.sentiment !== "negative") view.order = "newest"; // nothing is urgent there
	return view;
}

export function searchOf(view) {
	const changed = Object.entries(view).filter(([name, value]) => value !== DEFAULTS[name] && value !== "own");
	return changed.length ? `?${new URLSearchParams(changed)}` : "";
}

// The change that shows the time between two moments.
export const ownRange = (start, end) => ({ range: "own", ...timesOf({ start, end }) });

// Start and end in milliseconds; `rolling` where the end is now.
export function periodOf(view, now) {
	if (view.range in RANGES) {
		const [length, interval, name] = RANGES[view.range];
		return { start: now - length, end: now, interval, name, rolling: true };
	}
	const [start, end] = [Date.parse(view.start_time), Date.parse(view.end_time)];
	const hours = (end - start) / HOUR;
	return { start, end, interval: hours <= 4 ? "minute" : hours <= 240 ? "hour" : "day", name: "the chosen time" };
}

const iso = (moment) => new Date(moment).toISOString();
export const timesOf = ({ start, end }) => ({ start_time: iso(start), end_time: iso(end) });

// The period before: as long, and up to the last microsecond.
export const timesBefore = ({ start, end }) =>
	({ start_time: iso(2 * start - end), end_time: iso(start - 1).replace("Z", "999Z") });

// What the list and the figures share; only the list knows `q`.
export const filterOf = ({ sentiment, cluster, min_confidence, author }) => ({ sentiment, cluster, min_confidence, author });

export const isFiltered = (view) => Object.keys(NO_FILTER).some((name) => view[name]);
