// Figures: two periods compared, in tiles, over time, by topic and by person. Made to be printed.

import { NO_FILTER, isFiltered } from "./address.js";
import { drawBars, fine, splitBar } from "./chart.js";
import { chartOf, topicsOf } from "./desk.js";
import { SENTIMENTS, SIGNS, capital, count, percent, score, span, time, topicName } from "./format.js";
import { filters, hint, machineNotice, note, problems, searchField, viewLink } from "./parts.js";
import { barName, barsInWords, chartEvents } from "./pointing.js";
import { answerTo } from "./questions.js";
import { h } from "./render.js";
import { searchNote } from "./search.js";
import { changeText, comparedWith, countChange, currentAlarms, headline, isProvisional, queueOf, shareChange, usually, whyNotCompared } from "./story.js";
import { negativeShares } from "./summaries.js";

const PEOPLE = 15;

// The share of negative ones on a scale of its own, with that of the period before.
function drawShare({ bars }, ghost) {
	const now = negativeShares(bars);
	const before = negativeShares((ghost ?? []).slice(0, bars.length));
	const top = Math.min(1, Math.ceil(10 * Math.max(0.1, ...[...now, ...before].map(({ share }) => share))) / 10);
	// A point by itself is seen, too.
	const line = (points) => points.map(({ at, share }, index) => `${index ? "L" : "M"}${fine((at * 100) / bars.length)} ${fine(100 * (1 - share / top))}h.01`).join("");
	return [
		h("svg.bars", { viewBox: "0 0 100 100", preserveAspectRatio: "none", "aria-hidden": "true" },
			h("path.grid", { d: "M0 0H100M0 50H100M0 100H100", "vector-effect": "non-scaling-stroke" }),
			ghost && h("path.ghost", { d: line(before), "vector-effect": "non-scaling-stroke" }),
			h("path.line", { d: line(now), "vector-effect": "non-scaling-stroke" })),
		h("span.scale", { "aria-hidden": "true" }, percent(top)),
	];
}

export function figures(state) {
	const { value: summary, stale } = answerTo(state, "summary");
	return h("main.figures", { id: "page", key: "figures", "aria-busy": !summary || stale ? "true" : null },
		h("div.top", { key: "top" }, searchField(state), filters(state)),
		machineNotice(state), problems(state), searchNote(state),
		summary && h("div.all-figures", { key: "all", class: stale ? "stale" : "" },
			note(state, "list"), cards(state, summary), overTime(state), h("div.two", topicTable(state), h("div", people(state), rising(state)))));
}

function cards(state, summary) {
	const { value: before } = answerTo(state, "before");
	const { value: stats } = answerTo(state, "stats");
	const why = before ? whyNotCompared(summary, before, stats) : "";
	const { totals } = summary;
	const was = before?.totals;
	/** @type {[string, string, string | undefined, (() => { text: string, tone: string }) | null][]} */
	const rows = [
		["Posts", count(totals.count), was && count(was.count), () => countChange(totals.count, was.count, { series: before.series })],
		...(state.view.sentiment ? [] : SENTIMENTS.map((name) => /** @type {any} */ ([
			`${SIGNS[name]} ${capital(name)}`, totals.count ? `${percent(totals[name] / totals.count)} (${count(totals[name])})` : "–",
			was && (was.count ? `${percent(was[name] / was.count)} (${count(was[name])})` : "–"), () => shareChange(name, totals, was)]))),
		["Mood on average", totals.count ? score(totals.average_sentiment) : "–", was && (was.count ? score(was.average_sentiment) : "–"), null],
	];
	return h("section", { key: "cards" },
		totals.count ? h("div.head", { key: "head" }, h("p.headline", { id: "headline" }, headline(state, summary.period, summary, before, why)), state.loaded.more?.copyLinks(state))
			: stats && state.loaded.empty?.whyNothing(state, queueOf(stats)),
		isProvisional(stats, totals.count) && h("p.notice", { id: "provisional" }, `${count(queueOf(stats).waiting)} more are still being analysed: figures are of what is done so far, and nothing is compared until then.`),
		h("table", { id: "totals" },
			h("caption.unseen", "Figures of the time, and of the time it is compared with"),
			h("thead", h("tr", h("th", { scope: "col" }, ""), h("th", { scope: "col" }, span(summary.period, state.now)),
				before && h("th", { scope: "col" }, span(before.period, state.now)), before && h("th", { scope: "col" }, ""))),
			h("tbody", rows.map(([name, now, then, found]) => {
				const change = before && why === null && found ? found() : null;
				return h("tr", { key: name }, h("th", { scope: "row" }, hint(state, name)), h("td.figure", now), before && h("td", then),
					before && h("td.change", { class: { good: "better", bad: "worse" }[change?.tone] ?? "" }, change ? change.text : found ? why : ""));
			}))));
}

function overTime(state) {
	const found = chartOf(state);
	if (!found) return null;
	const { chart, ghost, summary } = found;
	const open = state.tables.time;
	return h("section", { key: "time" },
		h("h2", "Posts over time"),
		h("div.bars-place", { id: "chart", tabindex: 0, role: "group", "aria-label": "Posts over time", on: chartEvents(state, chart, summary.period) },
			drawBars(chart, ghost, state.chart, state.now)),
		h("p.small", { id: "readout", role: "status" }, state.chart ? barsInWords(chart, state.chart, state.now) : ghost ? `The outline is ${comparedWith(state.view)}.` : ""),
		h("h2", hint(state, "Share of negative posts")),
		h("div.bars-place.low", drawShare(chart, ghost)),
		h("details", { id: "chart-table", on: { toggle: (event) => event.target.open !== Boolean(open) && ["table", "time", event.target.open] } },
			h("summary", "As a table"),
			open && h("div.scroll", { tabindex: 0, role: "region", "aria-label": "Posts over time" },
				h("table",
					h("thead", h("tr", ["From", ...SENTIMENTS, "average"].map((name) => h("th", { scope: "col" }, name)), ghost && h("th", { scope: "col" }, "before"))),
					h("tbody", chart.bars.map((bar, index) => h("tr", { key: bar.start },
						h("th", { scope: "row" }, barName(chart, index, state.now)), SENTIMENTS.map((name) => h("td", count(bar[name]))),
						h("td", bar.count ? score(bar.average_sentiment) : "–"), ghost && h("td", ghost[index] ? count(ghost[index].count) : "–"))))))));
}

function topicTable(state) {
	const topics = topicsOf(state);
	const shown = state.tables.topics ? topics : topics.slice(0, 25);
	const compared = topics.some(({ change }) => change !== null);
	return h("section", { key: "topics" },
		h("h2", "Topics"),
		h("table", { id: "topic-table" },
			h("thead", h("tr", h("th", { scope: "col" }, "Topic"), h("th", { scope: "col" }, "Posts"), compared && h("th", { scope: "col" }, "Before"), compared && h("th", { scope: "col" }, "Change"), h("th", { scope: "col" }, "Negative"))),
			h("tbody", shown.map((topic) => h("tr", { key: topic.cluster, "data-key": topic.cluster },
				h("th", { scope: "row" }, viewLink(state, "a", { page: "desk", order: "newest", cluster: topic.cluster }, topicName(topic.cluster)), splitBar(topic, topics[0].count)),
				h("td", count(topic.count)), compared && h("td", topic.change === null ? "" : count(topic.was)),
				compared && h("td.change", { class: topic.direction && topic.bad ? (topic.direction > 0 ? "worse" : "better") : "" }, changeText(topic), topic.direction ? (topic.direction > 0 ? " ▲" : " ▼") : ""),
				h("td", percent(topic.negative / topic.count)))))),
		topics.length > 25 && h("button.link", { on: { click: ["table", "topics", !state.tables.topics] } }, state.tables.topics ? "Fewer" : `All ${count(topics.length)}`));
}

function people(state) {
	const { value, problem } = answerTo(state, "people");
	const authors = value?.authors ?? [];
	const all = { ...NO_FILTER, page: "desk", order: "newest" };
	return h("section", { key: "people" },
		h("h2", hint(state, "Who complains most")),
		isFiltered(state.view) && h("p.small", { key: "note" }, "Whatever the other filters."),
		problem ? h("p.small", problem.text) : !authors.length ? h("p.small", value ? "Nobody in this time." : "Loading…")
			: h("table", { id: "people" },
				h("thead", h("tr", h("th", { scope: "col" }, "Person"), h("th", { scope: "col" }, "Negative"), h("th", { scope: "col" }, "Posts"), h("th", { scope: "col" }, "Last"))),
				h("tbody", authors.slice(0, PEOPLE).map((one) => h("tr", { key: one.author },
					h("th", { scope: "row" }, viewLink(state, "a", { ...all, author: one.author }, h("bdi", one.author))),
					h("td", count(one.negative)), h("td", count(one.count)), h("td", time(one.last, state.now)))))));
}

function rising(state) {
	const { value } = answerTo(state, "trends");
	const trends = value?.trends ?? [];
	const alarms = new Set(currentAlarms(state).map(({ cluster }) => cluster));
	const names = { rising: "▲ more", new: "✚ new", falling: "▼ fewer" };
	return h("section", { key: "rising" },
		h("h2", hint(state, "Unusual in the last hour")),
		!trends.length ? h("p.small", { id: "no-rising" }, value ? "Nothing stands out against what is usual." : "Loading…")
			: h("ul.short", { id: "rising" }, trends.map((trend) => h("li", { key: trend.cluster, class: alarms.has(trend.cluster) ? "alarm" : "" },
				viewLink(state, "a", { page: "desk", order: "newest", range: "1h", cluster: trend.cluster }, topicName(trend.cluster)),
				h("span", ` ${names[trend.direction]}: ${count(trend.count)}, ${usually(trend)}`)))));
}
