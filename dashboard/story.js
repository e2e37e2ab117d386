// What the customers say, and how the machine is, in words: both signs, the headline, the change of
// each figure. Pure.

import { capital, compact, count, duration, isTopic, percent, plural, signed, tenths, time, topicName, usd } from "./format.js";
import { DAY } from "./periods.js";
import { FEW, answerTo } from "./questions.js";
import { compareCounts, compareShares, dispersion, LEAST_POINTS, tooFew } from "./statistics.js";
import { coverage } from "./summaries.js";

// The machine's queue, and whether figures are untrue without what waits in it.

const both = ({ live, bulk }) => live + bulk;

/** @param {Api.Stats | undefined} stats */
export function queueOf(stats) {
	if (!stats) return { waiting: 0, failed: 0, completed: 0 };
	const { counts } = stats;
	return {
		waiting: both(counts.pending) + both(counts.processing),
		failed: both(counts.failed),
		completed: both(counts.completed),
		minutes: stats.completed_last_minute ? (both(counts.pending) + both(counts.processing)) / stats.completed_last_minute : null,
	};
}

// A few posts on their way change nothing; a fiftieth of all does.
export const isProvisional = (stats, total) => {
	const { waiting } = queueOf(stats);
	return waiting >= 5 && waiting > 0.02 * total;
};

// Whether so much waits that the last hour may look other than it is.
/** @param {Api.Stats | undefined} stats */
const isEarly = (stats) => isProvisional(stats, stats?.completed_last_hour ?? 0);

// The alarm

const CALM_SHARE = 4; // topics that rose less than a quarter of the first are drawn along by it

// Complaints that rose in the last hour, the most posts above what is usual first.
/** @param {Api.TrendsOut | undefined} trends */
export function alarmsOf(trends) {
	const up = (trends?.trends ?? [])
		.filter(({ direction, average_sentiment, cluster }) => direction !== "falling" && average_sentiment < -0.1 && isTopic(cluster))
		.map((trend) => ({ ...trend, more: trend.count - trend.expected }))
		.sort((a, b) => b.more - a.more);
	return up.filter(({ more }) => more * CALM_SHARE >= up[0].more);
}

export const usually = ({ expected }) => (expected < 0.5 ? "usually none" : `usually ${expected < 10 ? tenths(expected) : count(expected)}`);
/** @param {Api.Stats | undefined} stats */
export const alarmText = (alarm, stats) =>
	`${capital(topicName(alarm.cluster))}: ${plural(alarm.count, "post")} in the last hour, ${usually(alarm)}${isEarly(stats) ? ", of what is analysed so far" : ""}`;

// For a sign that is seen from every page.
export const alarmSign = ({ cluster, count: number }) => `${capital(topicName(cluster))}: ${count(number)} an hour`;

// What the sign says where nothing rises. As usual is only what there is enough to tell of: posts
// within the day that the last hour is held against, and not too many that nobody has read yet.
/** @param {Api.Stats | undefined} stats @param {Parts["extent"]} extent */
export function calmSign(stats, { newest, total }, now) {
	const early = isEarly(stats);
	if (!early && !(newest > now - DAY)) return "no posts for a day";
	return early || total < FEW ? "not known yet" : "as usual";
}

export function titleOf(alarms, machine, page) {
	const names = { desk: "", figures: "Figures · ", rules: "Rules · ", analysis: "Analysis · " };
	const alarm = alarms.length ? `▲ ${capital(topicName(alarms[0].cluster))} ${compact(alarms[0].count)} · ` : names[page];
	return `${machine.state === "bad" ? "✕ Stopped · " : ""}${alarm}Insights`;
}

// Two periods compared

// Why they cannot be; null where they can.
/** @param {Summary} summary @param {Summary | undefined} before @param {Api.Stats | undefined} stats */
export function whyNotCompared(summary, before, stats) {
	if (!before) return "";
	if (isProvisional(stats, summary.totals.count)) return "so far";
	const { count: total } = before.totals;
	if (!total) return "nothing before";
	if (total >= 20 && coverage(before.series) < 0.75) return "before is incomplete"; // by chance once in 300
	return null;
}

// `{ text, tone }` of a count: more is neither good nor bad.
export function countChange(now, was, { series = [] } = {}) {
	const spread = dispersion(series.map(({ negative, neutral, positive }) => negative + neutral + positive));
	const direction = compareCounts(now, was, { spread });
	if (!direction) return { text: unsure(now, was, count(was), 0.2 * Math.max(now, was)), tone: "" };
	const factor = now / was;
	let text = `before: ${count(was)}`;
	if (was >= 20 && factor >= 3) text = `${tenths(factor)} times the ${count(was)} before`;
	else if (was >= 20) text = `${percent(Math.abs(factor - 1))} ${direction > 0 ? "more" : "less"} than ${count(was)} before`;
	return { text, tone: "" };
}

// What is not called may still look different.
const unsure = (now, was, shown, near) => (Math.abs(now - was) > near ? `may be chance: ${shown} before` : `about as before: ${shown}`);

export function shareChange(name, totals, before) {
	const was = before[name] / before.count;
	if (tooFew(totals.count, before.count)) return { text: `too few to compare: ${percent(was)} of ${count(before.count)}`, direction: 0, tone: "" };
	const direction = compareShares(totals[name], totals.count, before[name], before.count);
	const good = { negative: -1, positive: 1, neutral: 0 }[name] * direction;
	const text = direction ? `${good > 0 ? "better than" : good < 0 ? "worse than" : "before"} ${percent(was)}` : unsure(totals[name] / totals.count, was, percent(was), LEAST_POINTS);
	return { text, direction, tone: good > 0 ? "good" : good < 0 ? "bad" : "" };
}

// Each topic with how many more or fewer than before; `direction` where that is called.
export function topicChanges(clusters, before, why) {
	const was = new Map((before?.clusters ?? []).map((topic) => [topic.cluster, topic.count]));
	return clusters.map((topic) => {
		if (!before || why) return { ...topic, change: null };
		const earlier = was.get(topic.cluster) ?? 0;
		const bad = topic.average_sentiment < -0.1;
		return { ...topic, was: earlier, change: topic.count - earlier, direction: compareCounts(topic.count, earlier), bad };
	});
}

export const changeText = ({ change }) => (change === null ? "" : change ? signed(change) : "±0");

// The headline

/** @param {Summary} summary @param {Summary | undefined} before */
export function headline(state, period, summary, before, why) {
	const { totals, clusters } = summary;
	const parts = [`${plural(totals.count, "post")} ${whenOf(state.view, state.now)}.`];
	if (!totals.count) return parts[0];
	if (!state.view.sentiment) {
		let sentence = `${percent(totals.negative / totals.count)} negative`;
		if (why === null) {
			const { direction } = shareChange("negative", totals, before.totals);
			if (direction) sentence += `, ${direction > 0 ? "worse" : "better"} than ${THAN[state.view.compare === "week" ? "7" : state.view.range] ?? "before"} (${percent(before.totals.negative / before.totals.count)})`;
		}
		parts.push(`${sentence}.`);
	}
	const most = clusters.find(({ cluster }) => isTopic(cluster) && cluster !== state.view.cluster);
	if (most) parts.push(`${state.view.cluster ? "Also" : "Most often"} about ${topicName(most.cluster)} (${percent(most.count / totals.count)}).`);
	return parts.join(" ");
}

const whenOf = (view, now) => (view.range === "all" && view.end_time ? `until ${time(view.end_time, now)}` : (WHEN[view.range] ?? "in the chosen time"));
const WHEN = {
	"1h": "in the last hour", "3h": "in the last 3 hours", "24h": "in the last 24 hours", today: "today", yesterday: "yesterday",
	"7d": "in the last 7 days", week: "this week", lastweek: "last week", "30d": "in the last 30 days", all: "in all",
};
const THAN = { 7: "a week before", "24h": "the day before", today: "yesterday by now", yesterday: "the day before", week: "last week by now", lastweek: "the week before" };
export const comparedWith = (view) => THAN[view.compare === "week" ? "7" : view.range] ?? "the time before";

// The two signs that every page has

const LONG = 300;

// A reason comes with or without its full stop.
export const ended = (text) => (/[.!?]$/.test(text) ? text : `${text}.`);
const safe = (waiting) => (waiting ? ` Your posts are safe: ${count(waiting)} ${waiting === 1 ? "waits" : "wait"}.` : " Your posts are safe.");

// Today's money, with the day's budget where there is one; "" where nothing is spent.
/** @param {Api.Stats | undefined} stats */
export function spentToday(stats) {
	const { today, daily_budget_usd: budget } = stats?.spending ?? {};
	return today?.cost_usd > 0 ? `${usd(today.cost_usd)}${budget ? ` of ${usd(budget)}` : ""}` : "";
}

// `{ state: "good" | "care" | "bad", short, long }`. `problem` is what asking for `stats` met.
/** @param {Api.Stats | undefined} stats */
export function machineOf(stats, problem) {
	if (problem) return { state: "bad", short: "No connection", long: `${problem} What is shown may be old; it goes on by itself.` };
	if (!stats) return { state: "", short: "…", long: "" };
	const { waiting, failed, minutes } = queueOf(stats);
	const { breaker, bound_by, oldest_pending_seconds: oldest, fallback } = stats;
	if (breaker.state === "open") {
		return { state: "bad", short: "Analysis stopped", long: `Analysis has stopped: ${ended(breaker.reason || "Grok cannot be reached")}${safe(waiting)}` };
	}
	if (bound_by === "budget") {
		return { state: "bad", short: "Budget spent", long: `Today's budget is spent; analysis goes on at midnight UTC.${safe(waiting)}` };
	}
	if (fallback?.notice) return { state: "care", short: "Answers unreadable", long: fallback.notice };
	if (oldest > LONG) return { state: "care", short: `Behind: ${plural(waiting, "waits", "wait")}`, long: `The oldest waits for ${duration(oldest)}.` };
	if (waiting >= 50) return { state: "care", short: `Analysing ${count(waiting)}`, long: minutes ? `About ${duration(60 * minutes)} to go.` : "" };
	if (failed) return { state: "care", short: `${count(failed)} not analysed`, long: `${plural(failed, "post")} could not be analysed.` };
	return { state: "good", short: "Analysis running", long: "Nothing waits." };
}

export const currentAlarms = (state) => alarmsOf(answerTo(state, "trends").value);

export function currentCalm(state) {
	const { value: stats, problem } = answerTo(state, "stats");
	const { value: extent } = answerTo(state, "extent");
	const known = answerTo(state, "trends").value && stats && extent;
	return problem || known ? `Customers: ${problem ? "not known" : calmSign(stats, extent, state.now)}` : "…";
}

export function currentMachine(state) {
	const { value, problem } = answerTo(state, "stats");
	return machineOf(value, problem?.text);
}
