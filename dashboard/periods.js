// The times that can be looked at, what each is compared with, and how it is asked for. Pure.

const SECOND = 1000;
const HOUR = 3600 * SECOND;
export const DAY = 24 * HOUR;
const MOST_BUCKETS = 2000; // of one answer
const MOST_PARTS = 20; // answers put together: a century

const midnight = (moment, days = 0) => {
	const date = new Date(moment);
	return new Date(date.getFullYear(), date.getMonth(), date.getDate() + days).getTime();
};
// By the reader's calendar: a day is 23 or 25 hours long when the clocks change.
const shiftDays = (moment, days) => {
	const date = new Date(moment);
	date.setDate(date.getDate() + days);
	return date.getTime();
};
const monday = (moment) => midnight(moment, -((new Date(moment).getDay() + 6) % 7));

// Name, start and end of each, and how many days back what it is compared with lies (else its length).
export const RANGES = {
	"1h": ["Last hour", (now) => [now - HOUR, now]],
	"3h": ["Last 3 hours", (now) => [now - 3 * HOUR, now]],
	"24h": ["Last 24 hours", (now) => [now - DAY, now]],
	today: ["Today", (now) => [midnight(now), now], 1],
	yesterday: ["Yesterday", (now) => [midnight(now, -1), midnight(now) - 1], 1],
	"7d": ["Last 7 days", (now) => [now - 7 * DAY, now]],
	week: ["This week", (now) => [monday(now), now], 7],
	lastweek: ["Last week", (now) => [shiftDays(monday(now), -7), monday(now) - 1], 7],
	"30d": ["Last 30 days", (now) => [now - 30 * DAY, now]],
	all: ["All", (now, extent) => (extent?.oldest ? [extent.oldest, Math.max(extent.newest, extent.newest > now - DAY ? now : 0)] : [now - 30 * DAY, now])],
};
const MOVING = new Set(["1h", "3h", "24h", "today", "7d", "week", "30d", "all"]);
const WHOLE = new Set(["yesterday", "lastweek"]);

/** @returns {Api.Interval} */
function intervalOf(start, end) {
	const hours = (end - start) / HOUR;
	return hours <= 4 ? "minute" : hours <= 240 ? "hour" : "day";
}

// With its microseconds as a fraction, which `Date` cuts off.
const momentOf = (text) => Date.parse(text) + (text?.match(/\.\d{3}(\d{3})/)?.[1] ?? 0) / 1000;

// `{ start, end }` in milliseconds, both inclusive, with the interval to ask for, a name, and
// whether it `moves` on with the clock. `extent` has the `oldest` and `newest` of all posts.
/** @returns {Period} */
export function periodOf(view, now, extent) {
	const range = RANGES[view.range];
	const until = momentOf(view.end_time);
	let [start, end] = range ? range[1](now, extent) : [momentOf(view.start_time), until];
	if (range && until) [start, end] = [Math.min(start, until), until];
	return { start, end, interval: intervalOf(start, end), name: range?.[0] ?? "Chosen time", moves: MOVING.has(view.range) && !until, whole: WHOLE.has(view.range) };
}

// What a period is compared with; null for nothing.
/** @returns {Period | null} */
export function periodBefore(view, period) {
	if (view.compare === "none" || view.range === "all") return null;
	const days = view.compare === "week" ? 7 : RANGES[view.range]?.[2];
	const shift = (moment) => (days ? shiftDays(moment, -days) : moment - (period.end - period.start));
	return { ...period, start: shift(period.start), end: shift(period.end) - 1, whole: true };
}

function iso(moment) {
	const micros = Math.round((moment - Math.floor(moment)) * 1000);
	return new Date(Math.floor(moment)).toISOString().replace("Z", micros ? `${String(micros).padStart(3, "0")}Z` : "Z");
}
// To the end's last microsecond where it is the last moment of something `whole`.
export const timesOf = ({ start, end, whole }) =>
	({ start_time: iso(start), end_time: whole ? iso(Math.floor(end)).replace("Z", "999Z") : iso(end) });

// The periods, newest first, each short enough for one answer of the API; null if that is too many.
export function partsOf({ start, end, interval, whole }) {
	const length = (MOST_BUCKETS - 1) * { minute: 60 * SECOND, hour: HOUR, day: DAY }[interval];
	const parts = [];
	for (let last = end; last >= start; ) {
		if (parts.length === MOST_PARTS) return null;
		// On the day's beginning in UTC, so that no bucket is in two of them.
		const first = last - start < length ? start : Math.ceil((last - length) / DAY) * DAY;
		parts.push({ start: first, end: last, interval, whole: whole || last < end });
		last = first - 1;
	}
	return parts;
}
