// What people talk about, and what of it is rising.

import { ask } from "./api.js";
import { splitBar } from "./charts.js";
import { $, el, keyed, say } from "./elements.js";
import { count, mood, percent, tenths, topicName } from "./words.js";

const SHOWN = 100;
const EXAMPLES = 4;
const DIRECTIONS = { rising: "▲ rising", new: "✚ new", falling: "▼ falling" };

const keyOf = ({ cluster }) => cluster;
const topicButton = ({ cluster }, onChoose) =>
	el("button.topic", { title: `Only ${cluster}`, click: () => onChoose(cluster) }, topicName(cluster));

export function showTopics(clusters, chosen, onChoose) {
	keyed($("topics"), clusters.slice(0, SHOWN), keyOf,
		(topic) => el("tr",
			el("th", { scope: "row" }, topicButton(topic, onChoose), el("div")), el("td"), el("td"), el("td")),
		(row, topic) => {
			const [name, number, negative, average] = row.children;
			name.firstChild.setAttribute("aria-pressed", topic.cluster === chosen);
			name.lastChild.replaceChildren(splitBar(topic, clusters[0].count));
			say(number, count(topic.count));
			say(negative, percent(topic.negative / topic.count));
			average.replaceChildren(mood(topic.average_sentiment));
		});
}

// Trends, with texts that tell what they are about.
export async function showRising(trends, onChoose) {
	$("no-rising").hidden = trends.length;
	keyed($("rising"), trends, keyOf,
		(trend) => el("li", topicButton(trend, onChoose), el("span.direction"), el("p.small"), el("div")),
		(item, { direction, count: now, expected, score, average_sentiment }) => {
			item.className = direction;
			say(item.children[1], DIRECTIONS[direction]);
			item.children[2].replaceChildren(
				`${count(now)} instead of ${tenths(expected)} · strength ${tenths(score)} · `, mood(average_sentiment));
		});
	const items = [...$("rising").children];
	for (const [index, { examples }] of trends.slice(0, EXAMPLES).entries()) {
		const texts = await Promise.all(examples.slice(0, 2).map(textOf));
		items[index].lastChild.replaceChildren(...[...new Set(texts)].filter(Boolean).map((text) => el("blockquote", { dir: "auto" }, text)));
	}
}

const texts = new Map();

// Empty for one that was erased meanwhile.
async function textOf(id) {
	if (texts.size > 200) texts.clear();
	if (!texts.has(id)) texts.set(id, await ask(`conversations/${id}`).then(({ text }) => text, () => ""));
	return texts.get(id);
}
