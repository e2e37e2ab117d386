// The page put together: one view, what the API says of it, and what comes in meanwhile.

import { DAY, NO_FILTER, filterOf, isFiltered, ownRange, periodOf, readView, searchOf, timesBefore, timesOf } from "./address.js";
import { ask, follow, serviceAddress, urlOf } from "./api.js";
import { drawChart, startChart } from "./charts.js";
import { $, el, say } from "./elements.js";
import { showFilters, startFilters } from "./filters.js";
import { catchUp, loadList, offer, startList } from "./list.js";
import { Live } from "./live.js";
import { showMachine, startMachine, tellHealth } from "./machine.js";
import { Pace } from "./pace.js";
import { showRising, showTopics } from "./topics.js";
import { showHeadline, showTotals } from "./totals.js";
import { count } from "./words.js";

const TOGETHER = 1000; // what comes in is shown once a second
const MOST_ARRIVED = 1000;
const RETRY_SECONDS = 5;

let view = readView(location.search);
let period;
let loading = new AbortController();
let known = {}; // the latest summary, totals before, trends and stats

// What goes wrong

const problems = new Map();

// Asks for a part of the page; shows what goes wrong; asks again.
async function guard(part, task) {
	const { signal } = loading;
	try {
		await task();
		problems.delete(part);
	} catch (problem) {
		if (problem.name === "AbortError") return;
		if (problem.status === undefined) console.error(problem);
		const mends = problem.status === 0 || problem.status >= 500;
		problems.set(part, problem.message + (mends ? " Trying again; what is shown may be old." : ""));
		const again = () => signal.aborted || guard(part, task);
		if (mends && part !== "retry") setTimeout(again, 1000 * (problem.retryAfter ?? RETRY_SECONDS));
		if (part === "stats") tellHealth("bad", problem.message);
	}
	const [problem] = problems.values();
	$("problem").hidden = !problem;
	say($("problem"), problem ?? "");
}

// The view

// Whether it is another view than before.
function see(next) {
	const other = searchOf(next) !== searchOf(view);
	view = next;
	if (other) load();
	return other;
}

const change = (patch) =>
	see(readView(searchOf({ ...view, ...patch }))) && history.pushState(null, "", location.pathname + searchOf(view));

const choose = (cluster) => change({ cluster: cluster === view.cluster ? "" : cluster });

async function load() {
	loading.abort();
	loading = new AbortController();
	const { signal } = loading;
	period = periodOf(view, Date.now());
	known = { stats: known.stats };
	showFilters(view, period);
	$("page").setAttribute("aria-busy", "true");
	const trends = guard("trends", loadTrends);
	await Promise.all([
		guard("summary", loadSummary),
		guard("before", loadBefore),
		guard("list", () => loadList(view, period, trends.then(rising), signal)),
		trends,
	]);
	if (signal.aborted) return;
	$("page").removeAttribute("aria-busy");
	say($("announce"), $("headline").textContent);
}

// The figures

// Asks for figures, and links what is shown to their address.
async function figures(path, parameters, ...links) {
	const answer = await ask(path, parameters, { signal: loading.signal });
	for (const id of links) $(id).href = urlOf(path, parameters);
	return answer;
}

async function loadSummary() {
	const now = periodOf(view, Date.now());
	const parameters = { ...timesOf(now), ...filterOf(view) };
	const summary = await figures("insights/summary", { ...parameters, interval: now.interval }, "summary-json", "topics-json");
	period = now;
	known.summary = summary;
	$("csv").href = urlOf("insights/export", { format: "csv", bom: true, ...parameters, q: view.q });
	drawChart(summary.series, now);
	showTopics(summary.clusters, view.cluster, choose);
	$("known").replaceChildren(...summary.clusters.map(({ cluster }) => el("option", { value: cluster })));
	show();
}

async function loadBefore() {
	known.before = (await figures("insights/summary", { ...timesBefore(period), ...filterOf(view), interval: "day" })).totals;
	show();
}

async function loadTrends() {
	const parameters = { window: view.window, as_of: period.rolling ? "" : timesOf(period).end_time };
	const { trends } = await figures("trends", parameters, "trends-json");
	known.trends = trends;
	show();
	showRising(trends, choose);
}

async function loadStats() {
	const stats = await ask("stats");
	showMachine((known.stats = stats));
	show();
}

function rising() {
	const up = (known.trends ?? []).filter(({ direction }) => direction !== "falling");
	return new Set(up.map(({ cluster }) => cluster));
}

// Totals and headline; else why there are none.
function show() {
	const { summary, before, stats } = known;
	if (!summary) return;
	showTotals(summary.totals, before);
	showHeadline(period, summary, before, rising());
	const none = stats && !summary.totals.count;
	const of = (status) => (none ? stats.counts[status].live + stats.counts[status].bulk : 0);
	const working = of("pending") + of("processing");
	const never = none && !of("completed");
	$("empty").hidden = !never || working;
	$("working").hidden = !never || !working;
	say($("working-count"), count(working));
	$("elsewhere").hidden = !none || never;
	$("widen").hidden = !isFiltered(view);
}

async function goToNewest() {
	const { insights } = await ask("insights", { start_time: "0001-01-01", end_time: "9999-12-31", limit: 1 });
	const newest = Date.parse(insights[0].timestamp);
	change({ ...NO_FILTER, ...ownRange(newest - DAY, newest + 1) });
}

// What comes in meanwhile

let arrived = [];
let flushing;

function take(insights) {
	if (arrived.length <= MOST_ARRIVED) arrived.push(...insights);
	flushing ??= setTimeout(flush, TOGETHER);
}

function flush() {
	offer(arrived, arrived.length > MOST_ARRIVED);
	for (const pace of paces) pace.nudge();
	arrived = [];
	flushing = null;
}

let paused = false;

// Runs while the page is seen and not paused.
function goOnOrStop() {
	const run = !paused && !document.hidden;
	for (const part of [...paces, stream]) run ? part.start() : part.stop();
}

function showConnection(state, seconds) {
	const texts = { connecting: "… Connecting", live: "● Live", stopped: "❚❚ Paused", lost: `✕ Connection lost, next try in ${Math.ceil(seconds)} s` };
	$("live").className = `pill ${state}`;
	say($("live"), texts[state]);
	if (state !== "live") return;
	if (!stream.resumes) guard("list", catchUp);
	for (const pace of paces) pace.nudge();
}

// All of it

const stream = new Live(take, showConnection);
const paces = [
	new Pace(() => guard("summary", loadSummary), 3_000, 30_000),
	new Pace(() => guard("before", loadBefore), 60_000),
	new Pace(() => guard("trends", loadTrends), 30_000, 60_000),
	new Pace(() => guard("stats", loadStats), 10_000),
];

const THEMES = ["auto", "light", "dark"];
const look = document.documentElement.dataset;

function setTheme(theme) {
	look.theme = theme;
	say($("theme"), `Colours: ${theme}`);
	localStorage.setItem("insights-theme", theme);
}

$("theme").onclick = () => setTheme(THEMES[(THEMES.indexOf(look.theme) + 1) % 3]);
$("pause").onclick = () => {
	paused = !paused;
	say($("pause"), paused ? "Go on" : "Pause");
	goOnOrStop();
};
$("widen").onclick = () => change(NO_FILTER);
$("newest").onclick = () => guard("list", goToNewest);
document.onclick = (event) => guard("link", () => follow(event));
document.onvisibilitychange = goOnOrStop;
window.onpopstate = () => see(readView(location.search));

startFilters(change);
startList(change, guard);
startMachine(guard);
startChart((start, end) => change(ownRange(start, end)));
setTheme(localStorage.getItem("insights-theme") ?? "auto");
for (const place of document.querySelectorAll(".origin")) say(place, serviceAddress);
for (const link of document.querySelectorAll(".head > a")) {
	link.setAttribute("aria-label", `${link.parentNode.firstElementChild.firstChild.textContent} as JSON`);
}
load();
guard("stats", loadStats);
goOnOrStop();
