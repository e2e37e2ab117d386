// What an open post is about and who says so, put right by pointer or keys; how it is handled, and
// why it stands where it does.

import { languageName } from "./facts.js";
import { age, capital, fullTime, isUnread, percent, score, sentimentOf, SENTIMENTS, SIGNS, tenths, topicName } from "./format.js";
import { handlingNow, handlingText } from "./handling.js";
import { hint, mood, note } from "./parts.js";
import { answerTo } from "./questions.js";
import { h } from "./render.js";
import { asTopics, mayWrite } from "./work.js";

const MOST_TOPICS = 5;

// `item` as in the list.
export function handlingOf(state, item) {
	const handling = handlingNow(item.handling, state.now);
	const id = item.conversation_id;
	const text = handlingText(handling, state.minute, state.me);
	const another = handling.state === "claimed" && handling.by !== state.me;
	const button = (name, key, event) => h("button", { key: name, "aria-keyshortcuts": key, on: { click: event } }, name, " ", h("kbd", { "aria-hidden": "true" }, key));
	return h("section", { key: "handling", "aria-label": "Handling" },
		handling.state !== "open" && h("p", { id: "handled" }, another ? text : capital(text), "."),
		mayWrite(state) && h("p.buttons",
			another && h("button", { key: "take", on: { click: ["handle", id, { state: "claimed", take_over: true }] } }, "Take it over"),
			handling.state !== "claimed" && handling.state !== "answered" && button("Claim", "c", ["handle", id, { state: "claimed" }]),
			handling.state !== "answered" && button("Answered", "a", ["handle", id, { state: "answered" }]),
			handling.state !== "snoozed" && handling.state !== "answered" && button("Snooze", "s", ["askTime", id]),
			handling.state !== "ignored" && handling.state !== "answered" && button("Ignore", "i", ["handle", id, { state: "ignored" }]),
			handling.state !== "open" && h("button", { key: "open", on: { click: ["handle", id, { state: "open" }] } }, "Open again")),
		item.priority && h("details", { id: "points" },
			h("summary", `Why here: ${tenths(item.priority.points)} points`),
			h("table",
				h("thead", h("tr", ["", "Found", "Weight", "Points"].map((name) => h("th", { scope: "col" }, name)))),
				h("tbody", item.priority.terms.map(({ name, value, weight, points }) => h("tr", { key: name },
					h("th", { scope: "row" }, TERMS[name] ?? name), h("td", `${Number(value.toFixed(4))}`), h("td", `${weight}`), h("td", points.toFixed(4))))),
				h("tfoot", h("tr", h("th", { scope: "row", colspan: 3 }, "Together"), h("td", item.priority.points.toFixed(4)))))));
}

const TERMS = {
	negative: "Negative × sure", urgency: "What waiting costs", repeat: "Negative posts of the same author before",
	reach: "Followers", rising: "One of its topics was rising", hours: "Hours waited",
};

export function judgement(state, item) {
	const { grok_analysis: analysis, labelled } = item;
	const id = item.conversation_id;
	const sentiment = sentimentOf(analysis.sentiment_score);
	const topics = analysis.clusters.filter((name) => name !== "unknown");
	const known = answerTo(state, "summary").value?.clusters ?? [];
	const set = (clusters) => ["label", id, { clusters }];
	const take = (event) => {
		event.preventDefault();
		const added = asTopics(event.target.elements.topic.value);
		const all = [...new Set([...topics, ...added])];
		if (all.length > MOST_TOPICS) return ["note", "topics", `A post has ${MOST_TOPICS} topics at most, and these would be ${all.length}.`, true];
		return added.length > 0 && ["addTopics", id, all];
	};
	return h("dl.pairs", { key: "judgement" },
		h("dt", "Mood"), h("dd",
			isUnread(analysis) ? "not analysed: the model's answer could not be read" : mood(sentiment, `${sentiment}, ${score(analysis.sentiment_score)}`),
			mayWrite(state) && h("span.choices", { role: "group", "aria-label": "Put the mood right" }, SENTIMENTS.map((name) =>
				h("button", { key: name, "aria-label": `It is ${name}`, title: `It is ${name}`, "aria-pressed": String(name === sentiment && labelled?.by === "person"), on: { click: ["label", id, { sentiment: name }] } }, SIGNS[name])))),
		h("dt", "Topics"), h("dd", { id: "topics-of" },
			analysis.clusters.map((name) => h("span.chip", { key: name },
				h("button.link", { title: "Only this topic", on: { click: ["see", { cluster: name, open: "" }] } }, topicName(name)),
				mayWrite(state) && topics.length > 1 && h("button.link", { "aria-label": `Not about ${topicName(name)}`, on: { click: set(topics.filter((other) => other !== name)) } }, "×"))),
			mayWrite(state) && topics.length < MOST_TOPICS && h("form.add", { on: { submit: take } },
				h("input", { id: "topic", name: "topic", list: "known-topics", "aria-label": "Add topics", placeholder: "add a topic", maxlength: 200, autocomplete: "off", made: (input) => state.editing === id && input.focus() }),
				h("datalist", { id: "known-topics" }, known.map(({ cluster }) => h("option", { key: cluster, value: topicName(cluster) })))),
			note(state, "topics")),
		h("dt", "Last word"), h("dd", { id: "last-word" }, lastWord(item, state.now),
			labelled?.by === "person" && mayWrite(state) && [" ", h("button.link", { on: { click: ["unlabel", id] } }, "Take back")]),
		mayWrite(state) && [h("dt", h("label", { for: "reason" }, "Reason")), h("dd", h("input", {
			id: "reason", maxlength: 1000, value: state.typed.reason ?? "", placeholder: "goes with what you put right", on: { input: (event) => ["type", "reason", event.target.value] },
		}))],
		h("dt", "Why"), h("dd", { dir: "auto" }, analysis.reasoning),
		h("dt", hint(state, "Certain")), h("dd", percent(analysis.confidence)),
		item.urgency !== "none" && [h("dt", "Urgency"), h("dd", item.urgency)],
		item.language !== "und" && [h("dt", "Language"), h("dd", languageName(item.language))],
		analysis.reused_from && [h("dt", "Judged as"), h("dd", "an equal text before")],
		analysis.suspected_injection && [h("dt", "Beware"), h("dd", "This text may try to steer who judges it: ", analysis.suspected_injection.join(", "))]);
}

function lastWord({ labelled }, now) {
	if (!labelled) return "the model's";
	const { by, name, at, reason, was } = labelled;
	return [
		by === "rule" ? `the rule “${name}”` : h("span", { title: fullTime(at) }, `${name}, ${age(at, now)}`),
		reason && h("span", { dir: "auto" }, `: “${reason}”`),
		`. The model said ${SIGNS[sentimentOf(was.sentiment_score)]} ${sentimentOf(was.sentiment_score)} (${score(was.sentiment_score)}), ${was.clusters.map(topicName).join(", ")}.`,
	];
}
