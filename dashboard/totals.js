// The sentence at the top, and the totals with their change against the period before.

import { $, el, say } from "./elements.js";
import { count, percent, score, topicName } from "./words.js";

const SAME = 0.005;
const NOTABLE = 0.03;
const share = (sentiment) => (totals) => totals[sentiment] / totals.count;

// Name, figure, how it is written, and whether more of it is better (1), worse (-1) or neither.
const TILES = [
	["Conversations", (totals) => totals.count, count, 0],
	["Average sentiment", (totals) => totals.average_sentiment, score, 1],
	["Negative", share("negative"), percent, -1],
	["Neutral", share("neutral"), percent, 0],
	["Positive", share("positive"), percent, 1],
	["Average confidence", (totals) => totals.average_confidence, percent, 0],
];

// `before` is undefined while it is not known.
export function showTotals(totals, before) {
	$("totals").replaceChildren(...TILES.map(([name, valueOf, write, good]) => {
		const number = totals[name.toLowerCase()];
		const there = totals.count || write === count;
		const was = before?.count && there ? valueOf(before) : null;
		const by = was === null ? 0 : valueOf(totals) - was;
		const changed = Math.abs(by) > SAME;
		const kind = good && Math.abs(by) > NOTABLE ? (good * by > 0 ? ".better" : ".worse") : "";
		const sign = by > 0 ? "▲" : "▼";
		const change = changed ? `${sign} ${write === count ? percent(Math.abs(by) / was) : ""} from ${write(was)}`
			: was !== null ? "as before" : before && !before.count ? "nothing before" : "";
		return el("div",
			el("dt", name, number === undefined ? "" : `: ${count(number)}`),
			el("dd", el("span.figure", there ? write(valueOf(totals)) : "–"), el(`span.change${kind}`, change)));
	}));
}

export function showHeadline(period, { totals, clusters: [most] }, before, rising) {
	const mood = totals.average_sentiment;
	const by = before?.count ? mood - before.average_sentiment : 0;
	const feeling = Math.abs(mood) <= 0.1 ? "mixed" : `${Math.abs(mood) > 0.4 ? "very " : ""}${mood > 0 ? "happy" : "unhappy"}`;
	const change = Math.abs(by) < 0.05 ? "" : by > 0 ? ", better than before" : ", worse than before";
	const parts = [`${count(totals.count)} in ${period.name}: ${feeling} on average${change}.`];
	if (most) parts.push(`Most often about ${topicName(most.cluster)} (${percent(most.count / totals.count)}).`);
	if (rising.size) parts.push(`Rising: ${[...rising].slice(0, 3).map(topicName).join(", ")}.`);
	say($("headline"), totals.count ? parts.join(" ") : "");
}
