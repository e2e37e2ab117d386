// For a screen on the wall: the alarm, the chart, five topics, three posts, large.

import { drawBars } from "./chart.js";
import { chartOf, topicsOf } from "./desk.js";
import { age, count, isTopic, percent, sentimentOf, topicName } from "./format.js";
import { mood, viewLink } from "./parts.js";
import { answerTo } from "./questions.js";
import { h } from "./render.js";
import { alarmText, currentAlarms, currentMachine, headline, isProvisional, queueOf, whyNotCompared } from "./story.js";

export function kiosk(state) {
	const { value: summary } = answerTo(state, "summary");
	const { value: before } = answerTo(state, "before");
	const alarms = currentAlarms(state);
	const machine = currentMachine(state);
	const found = chartOf(state);
	const { value: stats } = answerTo(state, "stats");
	const why = before && summary ? whyNotCompared(summary, before, stats) : "";
	return h("main.kiosk", { id: "page", key: "kiosk" },
		h("h1.unseen", "Insights"),
		alarms.length ? h("p.notice.bad.large", { id: "alarm" }, "▲ ", alarmText(alarms[0], stats)) : null,
		machine.state === "bad" && h("p.notice.large", { id: "trouble" }, "✕ ", machine.long),
		h("p.headline", { id: "headline" }, summary ? headline(state, summary.period, summary, before, why) : "Loading…"),
		summary && isProvisional(stats, summary.totals.count) && h("p.notice", { id: "provisional" }, `${count(queueOf(stats).waiting)} more are still being analysed.`),
		found && h("div.bars-place", drawBars(found.chart, found.ghost, null, state.now)),
		h("div.two",
			h("ul.large-topics", topicsOf(state).filter(({ cluster }) => isTopic(cluster)).slice(0, 5).map((topic) =>
				h("li", { key: topic.cluster }, h("span", topicName(topic.cluster)), h("b", count(topic.count)), h("span", `${percent(topic.negative / topic.count)} negative`)))),
			h("ol", { id: "list" }, (answerTo(state, "list").value?.rows ?? []).slice(0, 3).map((row) =>
				h("li.row", { key: row.conversation_id, "data-key": row.conversation_id }, mood(sentimentOf(row.grok_analysis.sentiment_score)),
					h("p.text", { dir: "auto" }, row.text), h("p.facts", h("bdi", row.author ?? ""), age(row.timestamp, state.now)))))),
		h("p.small", viewLink(state, "a", { kiosk: "" }, "Back to the desk"), ` · ${machine.short}`));
}
