// The desk: topics at the left, the posts in the middle, the one that is open at the right.

import { NO_FILTER, isFiltered, ownRange, searchOf } from "./address.js";
import { barsInWords, drawBars, splitBar } from "./chart.js";
import { currentAlarms } from "./current.js";
import { SENTIMENTS, SIGNS, age, capital, count, duration, fullTime, isTopic, isUnread, percent, plural, sentimentOf, time, topicName, utc } from "./format.js";
import { filters, hint, machineNotice, mood, note, problems, searchField, viewLink } from "./parts.js";
import { answerTo } from "./questions.js";
import { h, lazy } from "./render.js";
import { markHits, sameTextKey } from "./search.js";
import { newRows } from "./state.js";
import { alarmText, changeText, countChange, headline, isProvisional, queueOf, shareChange, topicChanges, whyNotCompared } from "./story.js";
import { barsOf, groupBy } from "./summaries.js";

export function desk(state) {
	return h("main.desk", { id: "page", key: "desk", class: state.view.open ? "with-open" : "", "aria-busy": isBusy(state) ? "true" : null },
		h("div.top", { key: "top" }, searchField(state), filters(state)),
		rail(state),
		h("div.middle", { key: "middle" },
			machineNotice(state), problems(state), alarmBanner(state), story(state), chartPanel(state), posts(state)),
		state.view.open && (state.loaded.open?.openPost(state) ?? h("aside.pane", { key: "pane" })));
}

const isBusy = (state) => ["summary", "list"].some((part) => {
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
		h("div.head", h("h2", hint("Topics", "How many posts of the time are about each topic, and how many more or fewer than in the time it is compared with. A post can have several."))),
		h("ul.topics", { id: "topics" },
			[...hidden, ...shown].map((topic) => lazy(topic.cluster, topicItem, topic, topics[0].count, topic.cluster === view.cluster, searchOf({ ...view, cluster: "", open: "" })))),
		named.length > TOPICS_SHOWN && h("button.link", { on: { click: ["table", "topics", !all] } }, all ? "Fewer" : `All ${count(named.length)} topics`));
}

function topicItem(topic, most, chosen) {
	const call = topic.change && topic.direction ? (topic.direction > 0 ? " ▲" : " ▼") : "";
	return h("li", { key: topic.cluster },
		h("button.topic", { "aria-pressed": String(chosen), title: `${percent(topic.negative / topic.count)} negative`, on: { click: ["see", { cluster: chosen ? "" : topic.cluster, open: "" }] } },
			h("span.name", topicName(topic.cluster)),
			h("span.number", count(topic.count)),
			h("span.change", { class: call && topic.bad ? (topic.direction > 0 ? "worse" : "better") : "" }, changeText(topic), call)),
		splitBar(topic, most));
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
	const { waiting, minutes, completed } = queueOf(stats);
	const nothing = !summary.totals.count;
	return h("div.story", { key: "story" },
		nothing && stats && state.loaded.empty?.whyNothing(state, waiting, completed),
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
	const tiles = [["Posts", "Posts of this time that are analysed and fit the filters.", count(totals.count), () => countChange(totals.count, before.totals.count, { series: before.series })]];
	if (!sentiment) {
		for (const name of SENTIMENTS) {
			tiles.push([`${SIGNS[name]} ${capital(name)}`, `${MOODS[name]} ${count(totals[name])} of ${count(totals.count)} posts${part}.`,
				totals.count ? percent(totals[name] / totals.count) : "–", () => shareChange(name, totals, before.totals)]);
		}
	}
	return h("dl.totals", { id: "totals" }, tiles.map(([name, what, figure, found]) =>
		h("div", { key: name, "data-name": name.replace(/^\W+/, "") }, h("dt", hint(name, what)), h("dd", h("span.figure", figure), " ", before && change(found)))));
}

export const MOODS = {
	negative: "Judged to be below -0.1, on a scale from -1 (very unhappy) to 1 (very happy).",
	neutral: "Judged to be between -0.1 and 0.1, on a scale from -1 to 1.",
	positive: "Judged to be above 0.1, on a scale from -1 (very unhappy) to 1 (very happy).",
};

// --- the chart ------------------------------------------------------------------------------------

export function chartEvents(state, chart, period) {
	const length = chart.bars.length;
	const at = (event) => {
		const { left, width } = event.currentTarget.getBoundingClientRect();
		return Math.min(length - 1, Math.max(0, Math.floor(((event.clientX - left) / width) * length)));
	};
	const zoom = ({ from, to }) => {
		const [first, last] = [from, to].sort((a, b) => a - b);
		return ["see", { ...ownRange(Math.max(chart.bars[first].start, period.start), Math.min(chart.bars[last].end - 1, period.end)), open: "" }];
	};
	const chosen = state.chart;
	return {
		pointermove: (event) => (event.pointerType !== "touch" || null) && ["point", chosen?.dragging ? { ...chosen, to: at(event) } : { from: at(event), to: at(event) }],
		pointerdown(event) {
			if (event.pointerType !== "touch") event.currentTarget.setPointerCapture(event.pointerId);
			return ["point", { from: at(event), to: at(event), dragging: event.pointerType !== "touch" }];
		},
		pointerup: () => chosen?.dragging && (chosen.from === chosen.to ? ["point", { ...chosen, dragging: false }] : zoom(chosen)),
		pointerleave: (event) => event.pointerType !== "touch" && chosen && !chosen.dragging && ["point", null],
		blur: () => chosen && ["point", null],
		keydown(event) {
			const to = { ArrowLeft: (chosen?.to ?? length) - 1, ArrowRight: (chosen?.to ?? -1) + 1, Home: 0, End: length - 1 }[event.key];
			if (event.key === "Escape") return ["point", null];
			if (event.key === "Enter" && chosen) return zoom(chosen);
			if (to === undefined) return null;
			event.preventDefault();
			const next = Math.min(length - 1, Math.max(0, to));
			return ["point", { from: event.shiftKey ? (chosen?.from ?? next) : next, to: next }];
		},
	};
}

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
			id: "chart", tabindex: 0, role: "group", "aria-label": "Posts over time", "aria-describedby": "chart-help", on: chartEvents(state, chart, summary.period),
		}, drawBars(chart, ghost, state.chart, state.now)),
		h("figcaption.small",
			h("span", { id: "readout", role: "status" }, state.chart ? barsInWords(chart, state.chart, state.now) : ""),
			!state.chart && h("span", { id: "chart-help" },
				SENTIMENTS.map((name) => h("span.key", { class: name, key: name }, mood(name, name))),
				ghost && h("span.key", "┅ the time before"), days && h("span.key", "days in UTC"),
				h("span.key.mouse", "Drag to zoom; arrows and Enter by keys."))));
}

// --- the list -------------------------------------------------------------------------------------

// The rule that the page states, as a part of 1.
export const urgency = ({ sentiment_score, confidence, clusters }, up) =>
	Math.max(0, -sentiment_score) * confidence * (clusters.some((cluster) => up.has(cluster)) ? 1.5 : 1);

let ranked = {}; // of the last list and trends, since ranking a thousand rows for every frame is too much
function rank(rows, trends) {
	if (ranked.rows === rows && ranked.trends === trends) return ranked.items;
	const up = new Set((trends?.trends ?? []).filter(({ direction }) => direction !== "falling").map(({ cluster }) => cluster));
	const groups = groupBy(rows, (row) => sameTextKey(row.text));
	const items = [...groups.values()]
		.map((same) => ({ row: same[0], same: same.length, urgency: urgency(same[0].grok_analysis, up) }))
		.sort((a, b) => b.urgency - a.urgency || b.same - a.same);
	ranked = { rows, trends, items };
	return items;
}

const RANKED_SHOWN = 100;

function posts(state) {
	const { view } = state;
	const { value: list, stale } = answerTo(state, "list");
	const { value: summary } = answerTo(state, "summary");
	const urgent = view.order === "urgent";
	const rows = (list?.rows ?? []).filter((row) => Date.parse(row.timestamp) >= list.period.start);
	const ranking = urgent ? rank(list?.rows ?? [], answerTo(state, "trends").value) : [];
	const items = urgent ? ranking.slice(0, state.tables.ranked ? undefined : RANKED_SHOWN) : rows.map((row) => ({ row, same: 1 }));
	// One number for tile and list: both are of the same question, and asked at the same time.
	const total = view.q || urgent ? list?.total : summary?.totals.count;
	const fresh = state.held && list ? newRows(list, state.held) : 0;
	return h("section.posts", { key: "posts", class: stale ? "stale" : "", "aria-labelledby": "list-title" },
		h("div.head",
			h("h2", { id: "list-title", tabindex: -1 }, "Posts: ", h("span", { id: "list-total" }, total === undefined || stale ? "…" : count(total))),
			state.loaded.more?.listLinks(state),
			!view.sentiment || view.sentiment === "negative" ? h("div.order", { role: "group", "aria-label": "Order" },
				h("button", { "aria-pressed": String(!urgent), on: { click: ["see", { order: "newest" }] } }, "Newest first"),
				h("button", { "aria-pressed": String(urgent), on: { click: ["see", { order: "urgent" }] } }, "Most urgent first")) : null),
		urgent && list && h("p.small", { id: "rule" }, "Urgency: how negative × how sure × 100, × 1.5 if one of its topics is rising. ",
			`Ranked: ${list.cursor ? `the newest ${count(rows.length)}` : "all"} of ${plural(list.total, "negative one")}; equal texts together.`),
		note(state, "list"),
		fresh > 0 && h("button", { id: "new", on: { click: ["showHeld"] } }, `${state.held.cursor && fresh >= 50 ? "50 or more" : count(fresh)} new: show`),
		h("ol", { id: "list", "aria-label": "Posts" }, items.map(({ row, same, urgency }) =>
			lazy(row.conversation_id, postRow, row, state.minute, row.conversation_id === view.open, view.q, same, urgency, searchOf({ ...view, open: row.conversation_id })))),
		list && !stale && !items.length && summary?.totals.count !== 0 && h("p", { id: "nothing" }, "No posts here."),
		list?.cursor && !urgent && h("button", { id: "more", on: { click: ["loadMore"] } }, "Show more"),
		urgent && ranking.length > RANKED_SHOWN && !state.tables.ranked && h("button", { id: "more-ranked", on: { click: ["table", "ranked", true] } }, `Show all ${count(ranking.length)}`));
}

export const marked = (text, query) => markHits(text, query).map(([piece, hit]) => (hit ? h("mark", piece) : piece));

function postRow({ conversation_id: id, timestamp, text, author, grok_analysis: analysis }, now, open, query, same, urgency, address) {
	const sentiment = sentimentOf(analysis.sentiment_score);
	const unread = isUnread(analysis);
	return h("li.row", { key: id, "data-key": id, class: open ? "open" : "" },
		unread ? h("span.mood", { "aria-hidden": "true" }, "–") : mood(sentiment),
		h("a.opener", { href: address, "data-id": id, "aria-current": open ? "true" : null, on: { click: (event) => !event.ctrlKey && !event.metaKey && !event.shiftKey && ["openPost", id] } },
			h("span.text", { dir: "auto" }, marked(text, query))),
		h("div.facts",
			author && h("bdi.author", author),
			unread ? h("span.unread", "not analysed: the model's answer could not be read") : h("span", analysis.clusters.map(topicName).join(" · ")),
			h("time", { datetime: timestamp, title: `${fullTime(timestamp)} (${utc(timestamp)})` }, urgency === undefined ? time(timestamp, now) : `waits ${age(timestamp, now)}`),
			urgency === undefined && h("span.age", age(timestamp, now)),
			same > 1 && h("span.same", `${count(same)} × the same text`),
			urgency !== undefined && h("span", `urgency ${count(100 * urgency)}`)));
}
