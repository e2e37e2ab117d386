// The conversations: newest first as they come in, or most urgent first.

import { filterOf, timesOf } from "./address.js";
import { ask, urlOf } from "./api.js";
import { $, el, keyed, say } from "./elements.js";
import { bothTimes, count, isUnread, mood, percent, sentimentOf, time, topicName } from "./words.js";

const PAGE = 50;
const RANKED = 200;
const MOST_WAITING = 200;
const MOST_ROWS = 500;

let change, guard; // the page's
let view, period, rising, signal; // what is listed
let loaded, rows, cursor, total, loading, nearEnd;
const waiting = new Map();
let gap = false; // more has come in than waits

const idOf = ({ conversation_id }) => conversation_id;
const urgent = () => view.order === "urgent";

export function startList(...ofPage) {
	[change, guard] = ofPage;
	$("more").onclick = loadMore;
	$("new").onclick = () => {
		showWaiting();
		$("list-title").focus();
	};
	const seen = ([{ isIntersecting }]) => isIntersecting && !urgent() && loadMore();
	nearEnd = new IntersectionObserver(seen, { rootMargin: "800px" });
}

// `rising` is a promise.
export async function loadList(...wanted) {
	[view, period, rising, signal] = wanted;
	cursor = null;
	loading = false;
	await (loaded = loadPage());
	watchEnd();
}

// Anew after each page: one that is short leaves the end in sight, and that is no news.
function watchEnd() {
	nearEnd.disconnect();
	nearEnd.observe($("more"));
}

function askForPage(cursor) {
	if (!cursor && period.rolling) period = { ...period, end: Date.now() };
	const which = urgent() ? { sentiment: "negative", limit: RANKED } : { limit: PAGE };
	const parameters = { ...timesOf(period), ...filterOf(view), q: view.q, ...which, cursor };
	$("list-json").href = urlOf("insights", parameters);
	return ask("insights", parameters, { signal });
}

async function loadPage(more) {
	const [{ insights, metadata }, up] = await Promise.all([askForPage(cursor), urgent() && rising]);
	const before = more ? rows : []; // as they are by now
	const known = new Set(before.map(idOf));
	rows = [...before, ...insights.filter((row) => !known.has(idOf(row)))];
	if (urgent()) {
		for (const row of rows) row.urgency = urgency(row.grok_analysis, up);
		rows.sort((a, b) => b.urgency - a.urgency);
	}
	if (!more) forgetWaiting();
	cursor = metadata.next_cursor;
	total = metadata.total_count;
	show();
}

async function loadMore() {
	if (!cursor || loading) return;
	const of = signal;
	loading = true;
	await guard("list", () => loadPage(true));
	if (of !== signal) return;
	loading = false;
	watchEnd();
}

// What came in, with `andMore` not all of it: behind a button where it would disturb.
export function offer(insights, andMore = false) {
	if (!rows) return;
	const known = new Set(rows.map(idOf));
	for (const row of insights) if (!known.has(idOf(row)) && fits(row)) waiting.set(idOf(row), row);
	gap ||= andMore || waiting.size > MOST_WAITING;
	if (gap) waiting.clear();
	else if (!waiting.size) return;
	// The top is in sight, and nobody reads, points or types there.
	const list = $("list");
	const calm = list.getBoundingClientRect().top > 0 && !list.matches(":hover, :focus-within, :has([aria-expanded=true])");
	if (calm && !view.q && !urgent()) showWaiting();
	else tell();
}

// The stream may have left something out: offer what is new of the newest.
export async function catchUp() {
	await loaded;
	const { insights, metadata } = await askForPage(null);
	const known = new Set(rows.map(idOf));
	offer(insights, metadata.next_cursor && !insights.some((row) => known.has(idOf(row))));
}

// As the API filters; of `q` it alone can tell.
function fits({ timestamp, author, grok_analysis: { sentiment_score, clusters, confidence } }) {
	const moment = Date.parse(timestamp);
	return moment >= period.start && (period.rolling || moment <= period.end) &&
		(!view.sentiment || sentimentOf(sentiment_score) === view.sentiment) &&
		(!view.cluster || clusters.includes(view.cluster)) &&
		(!view.author || author === view.author) && confidence >= Number(view.min_confidence);
}

function showWaiting() {
	if (view.q || urgent() || gap || rows.length + waiting.size > MOST_ROWS) {
		guard("list", () => loadList(view, period, rising, signal));
		return;
	}
	rows = [...waiting.values(), ...rows].sort((a, b) => Date.parse(b.timestamp) - Date.parse(a.timestamp));
	while (cursor && waiting.has(idOf(rows.at(-1)))) rows.pop(); // it comes with its page
	total += waiting.size;
	forgetWaiting();
	show();
}

function forgetWaiting() {
	waiting.clear();
	gap = false;
}

function show() {
	keyed($("list"), rows, (row) => idOf(row) + (urgent() ? row.urgency : ""), makeRow);
	tell();
}

function tell() {
	say($("list-total"), count(total));
	$("rule").hidden = !urgent();
	say($("covers"), `Ranked: the newest ${count(rows.length)} of ${count(total)} negative ones.`);
	$("nothing").hidden = rows.length;
	$("more").hidden = !cursor;
	say($("more"), urgent() ? "Rank more" : "Show more");
	$("new").hidden = !waiting.size && !gap;
	say($("new"), `${gap ? "Many" : count(waiting.size)} new: ${urgent() ? "rank" : view.q ? "search" : "show"}`);
}

function makeRow({ conversation_id, timestamp, text, author, urgency, grok_analysis }) {
	const { sentiment_score, clusters, confidence } = grok_analysis;
	const details = el("div.details", { hidden: "" });
	const toggle = () => {
		details.hidden = !details.hidden;
		opener.setAttribute("aria-expanded", !details.hidden);
		if (!details.hidden) guard("details", () => showDetails(details, conversation_id));
	};
	const opener = el("button.opener", { "aria-expanded": "false", "aria-label": `Details: ${text.slice(0, 60)}`, click: toggle });
	const chip = (name, value, label) =>
		el("button.chip", { title: `Only this ${name}`, dir: "auto", click: () => change({ [name]: value }) }, label);
	const unread = isUnread(grok_analysis);
	return el("li.row", unread ? el("span.neutral", "–") : mood(sentiment_score),
		el("div",
			el("p.text", { dir: "auto", click: () => getSelection().isCollapsed && toggle() }, text),
			el("div.facts", time(timestamp), author && chip("author", author, author),
				...(unread ? [el("span.error", "not analysed: the model's answer could not be read")]
					: [...clusters.map((cluster) => chip("cluster", cluster, topicName(cluster))), el("span", `${percent(confidence)} sure`)]),
				urgency && el("span", `urgency ${count(100 * urgency)}`))),
		opener, details);
}

// The rule that the page states, as a part of 1.
function urgency({ sentiment_score, confidence, clusters }, up) {
	return -sentiment_score * confidence * (clusters.some((cluster) => up.has(cluster)) ? 1.5 : 1);
}

async function showDetails(place, id) {
	const found = await ask(`conversations/${id}`);
	const analysis = found.insight?.grok_analysis;
	const facts = {
		Reasoning: analysis?.reasoning,
		Confidence: analysis && percent(analysis.confidence),
		Time: bothTimes(found.timestamp),
		Received: bothTimes(found.created_at),
		Status: `${found.status}, ${found.lane} lane`,
		Attempts: count(found.attempts),
		"Last error": found.last_error,
		"Raw data": found.raw_data && el("pre", { tabindex: "0" }, JSON.stringify(found.raw_data, null, 2)),
	};
	const told = Object.entries(facts).filter(([, value]) => value);
	place.replaceChildren(
		el("dl", ...told.flatMap(([name, value]) => [el("dt", name), el("dd", { dir: "auto" }, value)])),
		el("a", { href: urlOf(`conversations/${id}`) }, `${id} as JSON`));
}
