// Which posts are most urgent. Pure.

import { count, plural } from "./format.js";
import { answerTo } from "./questions.js";
import { h } from "./render.js";
import { sameTextKey } from "./search.js";
import { groupBy } from "./summaries.js";

const HALVED = 6 * 3_600_000;

// The rule that the page states, as a part of 1. `age` in milliseconds before the newest.
export const urgency = ({ sentiment_score, confidence, clusters }, up, age) =>
	Math.max(0, -sentiment_score) * confidence * (clusters.some((cluster) => up.has(cluster)) ? 1.5 : 1) * 0.5 ** (age / HALVED);

let ranked = {}; // of the last list and trends, since ranking a thousand rows for every frame is too much
function rank(rows, trends) {
	if (ranked.rows === rows && ranked.trends === trends) return ranked.items;
	const up = new Set((trends?.trends ?? []).filter(({ direction }) => direction !== "falling").map(({ cluster }) => cluster));
	const newest = Date.parse(rows[0]?.timestamp);
	const groups = groupBy(rows, (row) => sameTextKey(row.text));
	const items = [...groups.values()]
		.map((same) => ({ row: same[0], same: same.length, urgency: urgency(same[0].grok_analysis, up, newest - Date.parse(same[0].timestamp)) }))
		.sort((a, b) => b.urgency - a.urgency || b.same - a.same);
	ranked = { rows, trends, items };
	return items;
}

const COLUMNS = ["urgency", "same_texts", "conversation_id", "timestamp", "author", "text", "sentiment_score", "clusters", "confidence", "reasoning", "link"];
// What a spreadsheet would run as a formula is text after an apostrophe, as in the service's own files.
const FORMULA = /^(?=["']*[=+\-@＝＋－＠\t\r\n])|(?<=[;\t\r\n])(?=["']*[=+\-@＝＋－＠])/g;
const cell = (value) => `"${(typeof value === "number" ? `${value}` : value.replace(FORMULA, "'")).replaceAll('"', '""')}"`;

// As a CSV in the order of the page, each post with its own address on it.
export function rankedCsv(state, addressOf) {
	const { value: list } = answerTo(state, "list");
	const lines = rank(list?.rows ?? [], answerTo(state, "trends").value).map(({ row, same, urgency }) => {
		const { sentiment_score, clusters, confidence, reasoning } = row.grok_analysis;
		return [Math.round(100 * urgency), same, row.conversation_id, row.timestamp, row.author ?? "", row.text,
			sentiment_score, clusters.join("; "), confidence, reasoning, addressOf(row.conversation_id)];
	});
	return "\ufeff" + [COLUMNS, ...lines].map((line) => `${line.map(cell).join(",")}\r\n`).join("");
}

const SHOWN = 100;

// `{ items, rule, more }`: the rows, how they are ranked, and the way to those that are left out.
export function ranking(state, list) {
	const all = rank(list.rows, answerTo(state, "trends").value);
	return {
		items: all.slice(0, state.tables.ranked ? undefined : SHOWN),
		rule: h("p.small", { id: "rule" }, "Urgency: how negative × how sure × 100, × 1.5 if one of its topics is rising, halved for every 6 hours before the newest. ",
			`Ranked: ${list.cursor ? `the newest ${count(list.rows.length)}` : "all"} of ${plural(list.total, "negative one")}; equal texts together.`),
		more: all.length > SHOWN && !state.tables.ranked && h("button", { id: "more-ranked", on: { click: ["table", "ranked", true] } }, `Show all ${count(all.length)}`),
	};
}
