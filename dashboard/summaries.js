// Summaries of the API, laid out for a chart. Pure.

// Lists of items by their key, in the order in which keys come.
export function groupBy(items, keyOf) {
	const groups = new Map();
	for (const item of items) {
		const key = keyOf(item);
		if (groups.has(key)) groups.get(key).push(item);
		else groups.set(key, [item]);
	}
	return groups;
}

const total = ({ negative, neutral, positive }) => negative + neutral + positive;
export const mean = (parts, valueOf, weightOf) => {
	const weight = parts.reduce((sum, part) => sum + weightOf(part), 0);
	return weight ? parts.reduce((sum, part) => sum + (weightOf(part) ? valueOf(part) * weightOf(part) : 0), 0) / weight : null;
};

export function add(parts) {
	const sum = (name) => parts.reduce((sum, part) => sum + part[name], 0);
	return {
		negative: sum("negative"), neutral: sum("neutral"), positive: sum("positive"),
		average_sentiment: mean(parts, (part) => part.average_sentiment, total),
	};
}

const MOST_BARS = 170;
const LENGTHS = { minute: 60_000, hour: 3_600_000, day: 86_400_000 };
const startOf = {
	week: (date) => Date.UTC(date.getUTCFullYear(), date.getUTCMonth(), date.getUTCDate() - ((date.getUTCDay() + 6) % 7)),
	month: (date) => Date.UTC(date.getUTCFullYear(), date.getUTCMonth()),
	year: (date) => Date.UTC(date.getUTCFullYear(), 0),
};

// Bars for a chart: `{ grain, bars }`, each bar with its `start`, `end`, counts, and whether it is
// `partial`: cut by the period, or not over yet. Many days become weeks, months or years.
export function barsOf(series, { start, end, interval }) {
	let grain = interval;
	const given = series.map((bucket) => ({ ...bucket, start: Date.parse(bucket.bucket), end: Date.parse(bucket.bucket) + LENGTHS[interval] }));
	let bars = given;
	for (const wider of bars.length > MOST_BARS && interval === "day" ? ["week", "month", "year"] : []) {
		if (bars.length <= MOST_BARS) break;
		grain = wider;
		const groups = groupBy(given, (bar) => startOf[wider](new Date(bar.start)));
		bars = [...groups].map(([first, parts]) => ({ ...add(parts), start: first, end: parts.at(-1).end }));
	}
	return { grain, bars: bars.map((bar) => ({ ...bar, count: total(bar), partial: bar.start < start || bar.end > end + 1 })) };
}

const LEAST_OF_SHARE = 20; // posts: the share of fewer goes up and down by chance

// How the share of negative ones went: `{ at, share }`, `at` in bars from the first one's start.
// Bars that follow each other are taken together until they have enough posts; what is left in the end
// is part of the last point.
export function negativeShares(bars) {
	const groups = [[]];
	const counted = (group) => group.reduce((sum, { bar }) => sum + bar.count, 0);
	for (const [index, bar] of bars.entries()) {
		if (!bar.count) continue;
		if (counted(groups.at(-1)) >= LEAST_OF_SHARE) groups.push([]);
		groups.at(-1).push({ bar, at: index + 0.5 });
	}
	if (groups.length > 1 && counted(groups.at(-1)) < LEAST_OF_SHARE) groups.splice(-2, 2, groups.slice(-2).flat());
	return groups.filter((group) => group.length).map((group) => ({
		at: mean(group, ({ at }) => at, ({ bar }) => bar.count),
		share: mean(group, ({ bar }) => bar.negative / bar.count, ({ bar }) => bar.count),
	}));
}

// How much of a period has any posts: what is compared with days before the first post is not compared.
export function coverage(series) {
	const first = series.findIndex((bucket) => total(bucket));
	return first < 0 ? 0 : 1 - first / series.length;
}
