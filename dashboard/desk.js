// The desk: topics at the left, the posts in the middle, the one that is open at the right.

import { NO_FILTER, isFiltered, searchOf } from "./address.js";
import { drawBars, splitBar } from "./chart.js";
import { SENTIMENTS, SIGNS, age, capital, count, duration, fullTime, isTopic, isUnread, percent, plural, sentimentOf, time, topicName, utc } from "./format.js";
import { filters, hint, machineNotice, mood, note, problems, searchField, viewLink } from "./parts.js";
import { answerTo } from "./questions.js";
import { h, lazy } from "./render.js";
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
	const topics = topicsOf(state);
	const all = state.tables.topics;
	const named = topics.filter(({ cluster }) => isTopic(cluster));
	const shown = all ? named : named.slice(0, TOPICS_SHOWN);
	const hidden = view.cluster && !shown.some(({ cluster }) => cluster === view.cluster) ? topics.filter(({ cluster }) => cluster === view.cluster) : [];
	const item = (key, name, number, current, patch) => h("li", { key },
		viewLink(state, "a", { ...patch, open: "" }, { "aria-current": current ? "true" : null }, h("span", name), number !== undefined && h("span.number", count(number))));
	return h("nav.rail", { key: "rail", "aria-label": "Views and topics" },
		h("h2", "Views"),
		h("ul.views",
			item("all", "All posts", totals?.count, !isFiltered(view) && view.order === "newest", { ...NO_FILTER, order: "newest" }),
			item("urgent", "Most urgent", totals?.negative, view.order === "urgent", { sentiment: "", order: "urgent" }),
			item("negative", "▼ Negative", totals?.negative, view.sentiment === "negative", { sentiment: "negative", order: "newest" }),
			item("positive", "▲ Positive", totals?.positive, view.sentiment === "positive", { sentiment: "positive", order: "newest" }),
			currentAlarms(state).slice(0, 3).map((alarm) =>
				item(`alarm ${alarm.cluster}`, h("span.alarm-name", `▲ ${capital(topicName(alarm.cluster))}`), alarm.count, false, { ...NO_FILTER, range: "1h", cluster: alarm.cluster })),
			topics.filter(({ cluster }) => !isTopic(cluster)).map(({ cluster, count: number }) =>
				item(cluster, capital(topicName(cluster)), number, view.cluster === cluster, { cluster: view.cluster === cluster ? "" : cluster }))),
		h("div.head", h("h2", hint(state, "Topics"))),
		h("ul.topics", { id: "topics" },
			[...hidden, ...shown].map((topic) => lazy(topic.cluster, topicItem, topic, topics[0].count, topic.cluster === view.cluster))),
		named.length > TOPICS_SHOWN && h("button.link", { on: { click: ["table", "topics", !all] } }, all ? "Fewer" : `All ${count(named.length)} topics`));
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
			topic.negative > 0 && h("button.link.angry", { title: `The ${count(topic.negative)} negative ones`, "aria-label": `Negative about ${topicName(topic.cluster)}, ${part}`, on: { click: see({ sentiment: "negative" }) } }, "▼ ", part)));
}

// --- what is going on -----------------------------------------------------------------------------

function alarmBanner(state) {
	const alarms = currentAlarms(state);
	if (!alarms.length) return null;
	return h("div.notice.bad", { id: "alarm", key: "alarm", role: "status" },
		h("b", "▲ ", alarmText(alarms[0]), "."),
		alarms.length > 1 && h("span", " Also: ", alarms.slice(1, 4).map(({ cluster, count: number }) => `${topicName(cluster)} ${count(number)}`).join(", "), "."),
		" ", viewLink(state, "a.button", { ...NO_FILTER, range: "1h", start_time: "", end_time: "", order: "newest", cluster: alarms[0].cluster, open: "" }, "Show these"));
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
		h("p.headline", { id: "headline" }, state.view.q && list
			? `${count(list.total)} of ${plural(summary.totals.count, "post")} have these words.` : nothing ? "" : headline(state, summary.period, summary, before, why)),
		isProvisional(stats, summary.totals.count) && !nothing && h("p.notice", { id: "provisional" },
			h("b", `${count(waiting)} more are still being analysed`), minutes ? `, about ${duration(60 * minutes)}` : "", ". Figures are of what is done so far; nothing is compared until then."),
		state.view.q && h("p.small", { id: "search-note" }, "The figures and the chart below are of all posts in this time, whatever their words."),
		totals(state, summary, before, why));
}

// `before` is undefined while it is not known.
function totals(state, summary, before, why) {
	const { totals } = summary;
	const { sentiment } = state.view;
	const part = why === "so far" ? " so far" : "";
	const change = (found) => (why === null ? h("span.change", { class: { good: "better", bad: "worse" }[found().tone] ?? "" }, found().text)
		: h("span.change", why === "so far" ? "so far" : why));
	/** @type {[string, string, string, () => { text: string, tone: string }][]} */
	const tiles = [["Posts", "", count(totals.count), () => countChange(totals.count, before.totals.count, { series: before.series })]];
	if (!sentiment) {
		for (const name of SENTIMENTS) {
			tiles.push([`${SIGNS[name]} ${capital(name)}`, `${count(totals[name])} of ${count(totals.count)} posts${part}.`,
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
	const urgent = view.order === "urgent";
	const rows = (list?.rows ?? []).filter((row) => Date.parse(row.timestamp) >= list.period.start);
	const ranking = urgent && list ? state.loaded.ranking?.ranking(state, list) : null;
	const items = ranking?.items ?? rows.map((row) => ({ row, same: 1 }));
	const { value: nearby } = answerTo(state, "near");
	const older = state.looked && !urgent ? rows.findIndex((row) => Date.parse(row.timestamp) <= state.looked) : 0;
	const since = older < 0 ? rows.length : older;
	// One number for tile and list: both are of the same question, and asked at the same time.
	const total = view.q || urgent ? list?.total : summary?.totals.count;
	const fresh = state.held?.fresh ?? 0;
	const from = Math.max(0, Math.min(state.drawn.from, items.length - MOST_DRAWN));
	return h("section.posts", { key: "posts", class: stale ? "stale" : "", "aria-labelledby": "list-title" },
		h("div.head",
			h("h2", { id: "list-title", tabindex: -1 }, "Posts: ", h("span", { id: "list-total" }, total === undefined || stale ? "…" : count(total))),
			since > 0 && h("span.small", { id: "since" }, `${count(since)}${older < 0 && list.cursor ? " or more" : ""} since you looked, ${age(state.looked, state.now)} ago`),
			state.loaded.more?.listLinks(state),
			!view.sentiment || view.sentiment === "negative" ? h("div.order", { role: "group", "aria-label": "Order" },
				h("button", { "aria-pressed": String(!urgent), on: { click: ["see", { order: "newest" }] } }, "Newest first"),
				h("button", { "aria-pressed": String(urgent), on: { click: ["see", { order: "urgent" }] } }, "Most urgent first")) : null),
		ranking?.rule,
		note(state, "list"),
		fresh > 0 && h("button", { id: "new", on: { click: ["showNew"] } }, `${state.held.cursor && fresh >= 50 ? "50 or more" : count(fresh)} new: show`),
		h("ol", { id: "list", "aria-label": "Posts", "data-from": from, "data-of": items.length },
			from > 0 && h("li", { key: "gap", "aria-hidden": "true" }, h("svg", { height: state.drawn.height })),
			items.slice(from, from + MOST_DRAWN).map(({ row, same, urgency }, index) => lazy(row.conversation_id, postRow, row, state.minute, row.conversation_id === view.open, (view.q && state.loaded.search?.marked) || null, view.q, same, urgency, searchOf({ ...view, open: row.conversation_id }),
				row.conversation_id === nearby?.conversation_id ? state.loaded.original?.originalOf(nearby)?.href : null, since > 0 && from + index === since))),
		list && !stale && !items.length && summary?.totals.count !== 0 && h("p", { id: "nothing" }, "No posts here."),
		list?.cursor && !urgent && h("button", { id: "more", on: { click: ["loadMore"] } }, "Show more"),
		ranking?.more);
}

const waits = (age) => (age === "now" ? "just now" : `waits ${age}`);

function postRow({ conversation_id: id, timestamp, text, author, grok_analysis: analysis }, now, open, marked, query, same, urgency, address, original, looked) {
	const sentiment = sentimentOf(analysis.sentiment_score);
	const unread = isUnread(analysis);
	return h("li.row", { key: id, "data-key": id, class: `${open ? "open" : ""} ${looked ? "looked" : ""}`, on: { pointerenter: ["rest", id] } },
		unread ? h("span.mood", { "aria-hidden": "true" }, "–") : mood(sentiment),
		h("a.opener", { href: address, "data-id": id, "aria-current": open ? "true" : null, on: { focus: ["rest", id], click: (event) => !event.ctrlKey && !event.metaKey && !event.shiftKey && ["openPost", id] } },
			h("span.text", { dir: "auto" }, marked ? marked(text, query) : text)),
		original && h("a.button.original", { href: original, target: "_blank", rel: "noreferrer noopener", "aria-label": "Open the post where it was written", tabindex: -1 }, "↗"),
		h("div.facts",
			author && h("bdi.author", author),
			unread ? h("span.unread", "not analysed: the model's answer could not be read") : h("span", analysis.clusters.map(topicName).join(" · ")),
			h("time", { datetime: timestamp, title: `${fullTime(timestamp)} (${utc(timestamp)})` }, urgency === undefined ? time(timestamp, now) : waits(age(timestamp, now))),
			urgency === undefined && h("span.age", age(timestamp, now)),
			same > 1 && h("span.same", `${count(same)} × the same text`),
			urgency !== undefined && h("span", `urgency ${count(100 * urgency)}`)));
}
