// Numbers, times and moods in words, for the reader's locale and zone. Texts only: no elements.

// The page's sentences are English: digits and months of another script would not fit into them.
const wanted = globalThis.navigator?.language ?? "en";
const foreign = /^(ar|fa|ur|he|ps|ckb|sd|ug|yi)\b/.test(wanted);
const LOCALE = new Intl.Locale(foreign ? "en-GB" : wanted, { numberingSystem: "latn", calendar: "gregory" });

const number = (options) => {
	const format = new Intl.NumberFormat(LOCALE, options);
	return (value) => format.format(value);
};
export const count = number({ maximumFractionDigits: 0 });
export const compact = number({ notation: "compact" });
export const tenths = number({ maximumFractionDigits: 1 });
export const percent = number({ style: "percent" });
export const score = number({ signDisplay: "exceptZero", minimumFractionDigits: 2, maximumFractionDigits: 2 });
export const signed = number({ signDisplay: "exceptZero", maximumFractionDigits: 0 });
// To the cent, and to two digits where it is less.
export const usd = number({ style: "currency", currency: "USD", maximumFractionDigits: 2, maximumSignificantDigits: 2, roundingPriority: "morePrecision" });

export const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

/** @type {[string, number][]} */
const UNITS = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];

// Seconds in their two largest units, `3 h 5 min`.
export function duration(seconds) {
	let rest = Math.round(seconds);
	const parts = [];
	for (const [unit, size] of UNITS) {
		if (rest >= size) parts.push(`${Math.floor(rest / size)} ${unit}`);
		rest %= size;
	}
	return parts.slice(0, 2).join(" ") || "under 1 s";
}

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const LONG_AGO = 60 * 24 * HOUR;

// How long ago, in one unit: what is read at a glance.
export function age(moment, now) {
	const passed = now - new Date(moment).getTime();
	if (passed < MINUTE) return passed < -MINUTE ? "in the future" : "now";
	if (passed < HOUR) return `${Math.floor(passed / MINUTE)} min`;
	if (passed < 48 * HOUR) return `${Math.floor(passed / HOUR)} h`;
	return passed < LONG_AGO ? `${Math.floor(passed / HOUR / 24)} days` : shortDay(moment, now);
}

// The same in a sentence: by `short` of its age, and by `long` of its day where that is far away.
export function ago(moment, now, short = (age) => `${age} ago`, long = (day) => `on ${day}`) {
	const passed = now - new Date(moment).getTime();
	if (passed < MINUTE) return "just now";
	return passed < LONG_AGO ? short(age(moment, now)) : long(shortDay(moment, now));
}

const formats = new Map();
function format(moment, options) {
	const key = JSON.stringify(options);
	if (!formats.has(key)) formats.set(key, new Intl.DateTimeFormat(LOCALE, options));
	return formats.get(key).format(moment);
}

const DAY = { day: "numeric", month: "short" };
const CLOCK = { hour: "2-digit", minute: "2-digit" };
const yearOf = (date, now, zone) => (date.getFullYear() === new Date(now).getFullYear() ? zone : { year: "numeric", ...zone });

// The zone's name where the clock shows this time twice, as it does on one night in autumn.
function zone(date) {
	const offset = date.getTimezoneOffset();
	const other = [-HOUR, HOUR].map((shift) => new Date(date.getTime() + shift).getTimezoneOffset());
	return other.some((near) => near !== offset) ? { timeZoneName: "short" } : {};
}

export const weekDay = (moment, now) => format(new Date(moment), { ...DAY, ...yearOf(new Date(moment), now, {}), timeZone: "UTC", weekday: "short" });
export const shortDay = (moment, now, inZone = {}) => format(new Date(moment), { ...DAY, ...yearOf(new Date(moment), now, inZone) });
export const clock = (moment) => format(new Date(moment), { ...CLOCK, ...zone(new Date(moment)) });

// Today only the clock, else with the day, and the year where it is another.
export function time(moment, now) {
	const date = new Date(moment);
	if (date.toDateString() === new Date(now).toDateString()) return clock(date);
	return format(date, { ...DAY, ...CLOCK, ...yearOf(date, now, {}), ...zone(date) });
}

export const fullTime = (moment) => format(new Date(moment), { ...DAY, ...CLOCK, weekday: "short", year: "numeric", ...zone(new Date(moment)) });
export const utc = (iso) => `${iso.slice(0, 19).replace("T", " ")} UTC`;

// From and to, without saying twice what they share.
export function span({ start, end }, now) {
	const days = [start, end].map((moment) => shortDay(moment, now));
	return `${days[0]}, ${clock(start)} to ${days[0] === days[1] ? "" : `${days[1]}, `}${clock(end)}`;
}

// A bucket by its grain, below a chart. The service's days are days in UTC.
export function bucketTick(moment, grain, now) {
	const date = new Date(moment);
	if (grain === "year" || grain === "month") return format(date, { year: "numeric", ...(grain === "month" && { month: "short" }), timeZone: "UTC" });
	if (grain === "day" || grain === "week") return format(date, { ...DAY, ...yearOf(date, now, {}), timeZone: "UTC" });
	return date.getHours() || date.getMinutes() ? format(date, CLOCK) : shortDay(date, now);
}

export const SENTIMENTS = ["negative", "neutral", "positive"];
export const SIGNS = { negative: "▼", neutral: "●", positive: "▲" };
export const sentimentOf = (value) => (value > 0.1 ? "positive" : value < -0.1 ? "negative" : "neutral");

const TOPICS = { unknown: "not understood", other: "no topic" };
export const topicName = (cluster) => TOPICS[cluster] ?? cluster.replaceAll("_", " ");
export const isTopic = (cluster) => !(cluster in TOPICS);
export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

// Whether this stands for an answer that was of no use. It is no judgement.
export const isUnread = ({ clusters, confidence }) => confidence === 0 && clusters.length === 1 && clusters[0] === "unknown";
