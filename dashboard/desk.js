// The desk: topics at the left, the posts in the middle, the one that is open at the right.

import { NO_FILTER, isFiltered, searchOf } from "./address.js";
import { drawBars, splitBar } from "./chart.js";
import { SENTIMENTS, SIGNS, age, ago, capital, count, duration, fullTime, isTopic, isUnread, percent, plural, sentimentOf, tenths, time, topicName, utc } from "./format.js";
import { filters, hint, machineNotice, mood, note, problems, searchField, viewLink } from "./parts.js";
import { handlingNow, handlingText, isTaken } from "./handling.js";
import { answerTo } from "./questions.js";
import { h, lazy } from "./render.js";
import { together } from "./same.js";
import { alarmText, changeText, countChange, currentAlarms, headline, isProvisional, queueOf, shareChange, topicChanges, whyNotCompared } from "./story.js";
import { barsOf } from "./summaries.js";

export function desk(state) {
	return h("main.desk", { id: "page", key: "desk", class: state.view.open ? "with-open" : "", "aria-busy": isBusy(state) ? "true" : null },
		h("div.top", { key: "top" }, searchField(state), filters(state)),
		rail(state),
		h("div.middle", { key: "middle" },
			machineNotice(state), problems(state), alarmBanner(state), story(state), chartPanel(state), posts(state)),
		state.view.open && (state.loaded.open?.openPost(state) ?? h("aside.pane", { key: "pane" })));
}

const isBusy = (state) => /** @type {const} */ (["summary", "list"]).some((part) => {
	const { value, stale, problem } = answerTo(state, part);
	return (!value || stale) && !problem && state.questions[part] !== undefined;
});

// --- topics and views -----------------------------------------------------------------------------

const HOUR = 3_600_000;
const TOPICS_SHOWN = 12;

// The topics as they are without the one that is chosen, so that the next is one click away.
export function topicsOf(state) {
	const chosen = state.view.cluster !== "";
	const { value } = answerTo(state, chosen ? "topics" : "summary");
	const { value: before } = answerTo(state, chosen ? "topicsBefore" : "before");
	if (!value) return [];
	return topicChanges(value.clusters, before, before ? whyNotCompared(value, before, answerTo(state, "stats").value) : "");
}

function rail(state) {
	const { view } = state;
	const { value: summary } = answerTo(state, "summary");
	const { value: stats } = answerTo(state, "stats");
	const totals = !view.sentiment ? summary?.totals : undefined;
	const handling = summary?.handling;
	const topics = topicsOf(state);
	const all = !isFiltered(view) && view.order === "newest";
	const thisHour = all && view.range === "1h";
	const allTopics = state.tables.topics;
	const named = topics.filter(({ cluster }) => isTopic(cluster));
	const shown = allTopics ? named : named.slice(0, TOPICS_SHOWN);
	const hidden = view.cluster && !shown.some(({ cluster }) => cluster === view.cluster) ? topics.filter(({ cluster }) => cluster === view.cluster) : [];
	const total = (part) => answerTo(state, part).value?.metadata.total_count;
	const item = (key, name, number, current, patch) => h("li", { key },
		viewLink(state, "a", { ...patch, open: "" }, { "aria-current": current ? "true" : null }, h("span", name), number !== undefined && h("span.number", count(number))));
	return h("nav.rail", { key: "rail", "aria-label": "Views and topics" },
		h("h2", "Views"),
		h("ul.views",
			item("queue", "To answer", total("queue"), view.order === "priority", { ...NO_FILTER, range: "24h", order: "priority" }),
			item("hour", "New this hour", total("hour"), thisHour, { ...NO_FILTER, range: "1h", order: "newest" }),
			// Whoever has one now, however old it is; what is done of the chosen time.
			/** @type {const} */ (["claimed", "snoozed"]).map((name) => (total(name) > 0 || view.handling === name) &&
				item(name, capital(name), total(name), view.handling === name, { ...NO_FILTER, handling: name, range: "30d", order: "newest" })),
			["answered", "ignored"].map((name) => (handling?.[name] > 0 || view.handling === name) &&
				item(name, capital(name), handling?.[name], view.handling === name, { ...NO_FILTER, handling: name, order: "newest" })),
			item("all", "All posts", totals?.count, all && !thisHour, { ...NO_FILTER, order: "newest" }),
			item("negative", "▼ Negative", totals?.negative, view.sentiment === "negative", { sentiment: "negative", order: "newest" }),
			item("positive", "▲ Positive", totals?.positive, view.sentiment === "positive", { sentiment: "positive", order: "newest" }),
			currentAlarms(state).slice(0, 3).map((alarm) =>
				item(`alarm ${alarm.cluster}`, h("span.alarm-name", `▲ ${capital(topicName(alarm.cluster))}`), alarm.count, false, { ...NO_FILTER, range: "1h", order: "newest", cluster: alarm.cluster })),
			topics.filter(({ cluster }) => !isTopic(cluster)).map(({ cluster, count: number }) =>
				item(cluster, capital(topicName(cluster)), number, view.cluster === cluster, { cluster: view.cluster === cluster ? "" : cluster }))),
		h("div.head", h("h2", hint(state, "Topics"))),
		h("ul.topics", { id: "topics" },
			[...hidden, ...shown].map((topic) => lazy(topic.cluster, topicItem, topic, topics[0].count, topic.cluster === view.cluster))),
		named.length > TOPICS_SHOWN && h("button.link", { on: { click: ["table", "topics", !allTopics] } }, allTopics ? "Fewer" : `All ${count(named.length)} topics`));
}

function topicItem(topic, most, chosen) {
	const call = topic.change && topic.direction ? (topic.direction > 0 ? " ▲" : " ▼") : "";
	const part = percent(topic.negative / topic.count);
	const see = (patch) => ["see", { cluster: topic.cluster, open: "", ...patch }];
	return h("li", { key: topic.cluster },
		h("button.topic", { "aria-pressed": String(chosen), on: { click: see(chosen && { cluster: "" }) } },
			h("span.name", topicName(topic.cluster)),
			h("span.number", count(topic.count)),
			h("span.change", { class: call && topic.bad ? (topic.direction > 0 ? "worse" : "better") : "" }, changeText(topic), call)),
		h("div.both", splitBar(topic, most),
			topic.negative > 0 && h("button.link.angry", { title: `The ${count(topic.negative)} negative ones`, "aria-label": `Negative about ${topicName(topic.cluster)}, ${part}`, on: { click: see({ sentiment: "negative", order: "newest" }) } }, "▼ ", part)));
}

// --- what is going on -----------------------------------------------------------------------------

function alarmBanner(state) {
	const alarms = currentAlarms(state);
	if (!alarms.length) return null;
	return h("div.notice.bad", { id: "alarm", key: "alarm", role: "status" },
		h("b", "▲ ", alarmText(alarms[0], answerTo(state, "stats").value), "."),
		alarms.length > 1 && h("span", " Also: ", alarms.slice(1, 4).map(({ cluster, count: number }) => `${topicName(cluster)} ${count(number)}`).join(", "), "."),
		" ", viewLink(state, "a.button", { ...NO_FILTER, range: "1h", order: "newest", cluster: alarms[0].cluster, open: "" }, "Show these"));
}

function story(state) {
	const { value: summary, stale } = answerTo(state, "summary");
	const { value: before } = answerTo(state, "before");
	const { value: stats } = answerTo(state, "stats");
	if (!summary) return h("div.story", { key: "story" }, h("p.headline", { id: "headline" }, problems(state) ? "" : "Loading…"));
	if (stale) return h("div.story.stale", { key: "story" }, h("p.headline", { id: "headline" }, "Loading…"), totals(state, summary, before, ""));
	const why = before ? whyNotCompared(summary, before, stats) : "";
	const { value: list } = answerTo(state, "list");
	const { waiting, minutes } = queueOf(stats);
	const nothing = !summary.totals.count;
	return h("div.story", { key: "story" },
		nothing && stats && state.loaded.empty?.whyNothing(state, queueOf(stats)),
		!nothing && h("p.headline", { id: "headline" }, state.view.q && list
			? `${count(list.total)} of ${plural(summary.totals.count, "post")} have these words.` : headline(state, summary.period, summary, before, why)),
		isProvisional(stats, summary.totals.count) && !nothing && h("p.notice", { id: "provisional" },
			h("b", `${count(waiting)} more are still being analysed`), minutes ? `, about ${duration(60 * minutes)}` : "", ". Figures are of what is done so far; nothing is compared until then."),
		state.loaded.search?.searchNote(state),
		totals(state, summary, before, why));
}

// `before` is undefined while it is not known.
function totals(state, summary, before, why) {
	const { totals } = summary;
	const { sentiment } = state.view;
	const part = why === "so far" ? " so far" : "";
	const change = (found) => (why === null ? h("span.change", { class: { good: "better", bad: "worse" }[found().tone] ?? "" }, found().text)
		: h("span.change", totals.count ? why : ""));
	/** @type {[string, string, string, () => { text: string, tone: string }][]} */
	const tiles = [["Posts", summary.corrected_count ? `Of ${plural(summary.corrected_count, "post")} people or their rules have put labels right.` : "", count(totals.count), () => countChange(totals.count, before.totals.count, { series: before.series })]];
	if (!sentiment) {
		for (const name of SENTIMENTS) {
			tiles.push([`${SIGNS[name]} ${capital(name)}`, `${count(totals[name])} of ${plural(totals.count, "post")}${part}.`,
				totals.count ? percent(totals[name] / totals.count) : "–", () => shareChange(name, totals, before.totals)]);
		}
	}
	return h("dl.totals", { id: "totals" }, tiles.map(([name, what, figure, found]) =>
		h("div", { key: name, "data-name": name.replace(/^\W+/, "") }, h("dt", hint(state, name, what)), h("dd", h("span.figure", figure), " ", before && change(found)))));
}

// --- the chart ------------------------------------------------------------------------------------

export function chartOf(state) {
	const { value: summary } = answerTo(state, "summary");
	const { value: before } = answerTo(state, "before");
	if (!summary?.totals.count) return null;
	const chart = barsOf(summary.series, summary.period);
	const ghost = before?.totals.count ? barsOf(before.series, before.period) : null;
	return { chart, ghost: ghost?.grain === chart.grain ? ghost.bars : null, summary, before };
}

function chartPanel(state) {
	const found = chartOf(state);
	if (!found) return null;
	const { chart, ghost, summary } = found;
	const stale = answerTo(state, "summary").stale;
	const days = ["day", "week", "month", "year"].includes(chart.grain);
	return h("figure.chart", { key: "chart", class: stale ? "stale" : "" },
		h("div.bars-place", {
			id: "chart", tabindex: 0, role: "group", "aria-label": "Posts over time", "aria-describedby": "chart-help", on: state.loaded.pointing?.chartEvents(state, chart, summary.period),
		}, drawBars(chart, ghost, state.chart, state.now)),
		h("figcaption.small",
			h("span", { id: "readout", role: "status" }, state.chart && state.loaded.pointing ? state.loaded.pointing.barsInWords(chart, state.chart, state.now) : ""),
			!state.chart && h("span", { id: "chart-help" },
				SENTIMENTS.map((name) => h("span.key", { class: name, key: name }, mood(name, name))),
				ghost && h("span.key", "┅ the time before"), days && h("span.key", "days in UTC"),
				h("span.key.mouse", "Drag to zoom; arrows and Enter by keys."))));
}

// --- the list -------------------------------------------------------------------------------------

// However long the list: what is far from the window is not drawn, see `places.js`.
export const MOST_DRAWN = 300;

function posts(state) {
	const { view } = state;
	const { value: list, stale } = answerTo(state, "list");
	const { value: summary } = answerTo(state, "summary");
	const queue = view.order === "priority";
	const rows = (list?.rows ?? []).filter((row) => Date.parse(row.timestamp) >= list.period.start);
	const items = queue ? together(list?.rows ?? []) : rows.map((row) => ({ row, same: 1 }));
	const { value: nearby } = answerTo(state, "near");
	const older = state.looked && !queue ? rows.findIndex((row) => Date.parse(row.timestamp) <= state.looked) : 0;
	const since = older < 0 ? rows.length : older;
	// One number for tile and list: both are of the same question, and asked at the same time.
	const total = view.q || queue ? list?.total : summary?.totals.count;
	const from = Math.max(0, Math.min(state.drawn.from, items.length - MOST_DRAWN));
	const marked = (view.q && state.loaded.search?.marked) || null;
	const original = (id) => (id === nearby?.conversation_id ? state.loaded.original?.originalOf(nearby)?.href : null);
	return h("section.posts", { key: "posts", class: stale ? "stale" : "", "aria-labelledby": "list-title" },
		h("div.head",
			h("h2", { id: "list-title", tabindex: -1 }, queue ? "To answer: " : "Posts: ", h("span", { id: "list-total" }, total === undefined || stale ? "…" : count(total))),
			since > 0 && h("span.small", { id: "since" }, `${count(since)}${older < 0 && list.cursor ? " or more" : ""} since you looked, ${ago(state.looked, state.now)}`),
			state.loaded.more?.listLinks(state),
			h("div.order", { role: "group", "aria-label": "Order" },
				h("button", { "aria-pressed": String(queue), on: { click: ["see", { order: "priority", handling: "" }] } }, "To answer"),
				h("button", { "aria-pressed": String(!queue), on: { click: ["see", { order: "newest" }] } }, "Newest first"))),
		queue && list && aboutQueue(state, list, summary),
		state.loaded.more?.ownNote(state),
		note(state, "list"),
		state.held && h("button", { id: "new", on: { click: ["showNew"] } }, `${state.held.cursor && state.held.fresh >= 50 ? "50 or more" : count(state.held.fresh)} new: show`),
		h("ol", { id: "list", "aria-label": queue ? "To answer" : "Posts", "data-from": from, "data-of": items.length },
			from > 0 && h("li", { key: "gap", "aria-hidden": "true" }, h("svg", { height: state.drawn.height })),
			items.slice(from, from + MOST_DRAWN).map(({ row, same }, index) => {
				const { conversation_id: id } = row;
				return lazy(id, postRow, row, same, queue, state.minute, state.me, id === view.open, since > 0 && from + index === since,
					searchOf({ ...view, open: id }), marked, view.q, original(id));
			})),
		list && !stale && !items.length && summary?.totals.count !== 0 && h("p", { id: "nothing" }, queue ? "Everything is answered." : ["No posts here.", state.loaded.search?.allTimes(state)]),
		list?.cursor && h("button", { id: "more", on: { click: ["loadMore"] } }, "Show more"));
}

function aboutQueue(state, list, summary) {
	const { answered, answered_in_goal: inTime, median_answer_seconds: median } = summary?.handling ?? {};
	return h("p.small", { id: "queue-note" },
		`Open posts of the last ${plural((list.period.end - list.period.start) / HOUR, "hour")}, whom to answer first at the top. `,
		list.missed > 0 && [viewLink(state, "a", { handling: "open", range: "all", end_time: new Date(list.period.start).toISOString(), order: "newest", open: "" }, { id: "missed" }, `${plural(list.missed, "older one is", "older ones are")} still open`), ". "],
		answered > 0 && `Answered of the ${count(summary.totals.count)} above: ${count(answered)}, ${percent(inTime)} in time${median === null ? "" : `, half of them within ${duration(median)}`}.`);
}

function postRow(row, same, queue, now, me, open, looked, address, marked, query, original) {
	const { conversation_id: id, timestamp, text, author, grok_analysis: analysis, priority, labelled } = row;
	const handling = handlingNow(row.handling, now);
	const unread = isUnread(analysis);
	return h("li.row", {
		key: id, "data-key": id, class: [open && "open", looked && "looked", isTaken(handling, me) && "taken", /answered|ignored/.test(handling.state) && "done"].filter(Boolean).join(" "), on: { pointerenter: ["rest", id] },
	},
		unread ? h("span.mood", { "aria-hidden": "true" }, "–") : mood(sentimentOf(analysis.sentiment_score)),
		h("a.opener", { href: address, "data-id": id, "aria-current": open ? "true" : null, "aria-describedby": `facts-${id}`, on: { focus: ["rest", id], click: (event) => !event.ctrlKey && !event.metaKey && !event.shiftKey && ["openPost", id] } },
			h("span.text", { dir: "auto" }, marked ? marked(text, query) : text)),
		original && h("a.button.original", { href: original, target: "_blank", rel: "noreferrer noopener", "aria-label": "Open the post where it was written", tabindex: -1 }, "↗"),
		h("div.facts", { id: `facts-${id}` },
			handling.state !== "open" && h("span.handled", handlingText(handling, now, me)),
			author && h("bdi.author", author),
			unread ? h("span.unread", "not analysed: the model's answer could not be read") : h("span", analysis.clusters.map(topicName).join(" · ")),
			labelled && h("span.labelled", { title: labelled.reason ?? "" }, `✎ ${labelled.name}`),
			h("time", { datetime: timestamp, title: `${fullTime(timestamp)} (${utc(timestamp)})` }, queue ? ago(timestamp, now, (age) => `waits ${age}`, (day) => `waits since ${day}`) : time(timestamp, now)),
			same > 1 && h("span.same", `${count(same)} × the same text`),
			priority ? h("span.age", `${tenths(priority.points)} points`) : h("span.age", age(timestamp, now))));
}
