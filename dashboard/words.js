// Numbers, times and moods in words, for the reader's locale and zone.

import { el } from "./elements.js";

const number = (options) => {
	const format = new Intl.NumberFormat(undefined, options);
	return (value) => format.format(value);
};
export const count = number({ maximumFractionDigits: 0 });
export const compact = number({ notation: "compact" });
export const tenths = number({ maximumFractionDigits: 1 });
export const percent = number({ style: "percent" });
export const score = number({ signDisplay: "exceptZero", minimumFractionDigits: 2, maximumFractionDigits: 2 });
export const usd = number({ style: "currency", currency: "USD", maximumSignificantDigits: 4 });

// Seconds in their two largest units, `3 h 5 min`.
export function duration(seconds) {
	let rest = Math.round(seconds);
	const parts = [];
	for (const [unit, size] of [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]]) {
		if (rest >= size) parts.push(`${Math.floor(rest / size)} ${unit}`);
		rest %= size;
	}
	return parts.slice(0, 2).join(" ") || "under 1 s";
}

const moment = (options) => {
	const format = new Intl.DateTimeFormat(undefined, options);
	return (value) => format.format(new Date(value));
};
const DAY = { day: "numeric", month: "short" };
const CLOCK = { hour: "2-digit", minute: "2-digit" };
const clock = moment(CLOCK);
const day = moment(DAY);
const dayAndClock = moment({ ...DAY, ...CLOCK });
const utcDay = moment({ ...DAY, timeZone: "UTC" });
const utc = (iso) => `${iso.slice(0, 19).replace("T", " ")} UTC`;

// In the reader's zone; in UTC on hover.
export function time(iso) {
	const today = new Date(iso).toDateString() === new Date().toDateString();
	return el("time", { datetime: iso, title: utc(iso) }, (today ? clock : dayAndClock)(iso));
}

export const bothTimes = (iso) => `${dayAndClock(iso)} (${utc(iso)})`;

// A bucket by its interval. The service's days are days in UTC.
export const bucketName = (date, interval) => (interval === "day" ? `${utcDay(date)} (UTC)` : dayAndClock(date));

export function bucketTick(date, interval) {
	if (interval === "day") return utcDay(date);
	return (date.getHours() || date.getMinutes() ? clock : day)(date);
}

export const SENTIMENTS = ["negative", "neutral", "positive"];
const SIGNS = { negative: "▼ ", neutral: "● ", positive: "▲ " };

export const sentimentOf = (value) => (value > 0.1 ? "positive" : value < -0.1 ? "negative" : "neutral");

// By sign, colour, number, and a word for those who see none of them.
export function mood(value) {
	const sentiment = sentimentOf(value);
	return el(`span.mood.${sentiment}`,
		el("span", { "aria-hidden": "true" }, SIGNS[sentiment]), el("span.unseen", sentiment, " "), score(value));
}

// Whether this stands for an answer that was of no use. It is no judgement.
export const isUnread = ({ clusters, confidence }) => confidence === 0 && clusters.length === 1 && clusters[0] === "unknown";

export const topicName = (cluster) => cluster.replaceAll("_", " ");
