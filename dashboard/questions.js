// What the page wants to know of the API in a state. Pure: `loader.js` asks.
//
// A question is `{ part, key, least, most, ask }`: `key` tells it from another of the same part, and
// holds no moment, so that a period that moves stays one question; it is asked again every `most`
// milliseconds, after news every `least`. `ask(get, now)` gives the answer, by `get(path, parameters)`.

import { DAY, partsOf, periodBefore, periodOf, timesOf } from "./periods.js";
import { filterOf } from "./address.js";

const PAGE = 50;
export const FEW = 20; // posts ever, of which nobody can say what is usual
const EVER = { start_time: "0001-01-01T00:00:00Z", end_time: "9999-12-31T23:59:59Z" };

export class TooLong extends Error {
	message = "That time is longer than can be shown: a century at most.";
	status = 400;
}

/** @param {Get} get @param {Period} period */
async function summary(get, period, filter) {
	const parts = partsOf(period);
	if (!parts) throw new TooLong();
	const answers = await Promise.all(parts.map((part) => get("insights/summary", { ...timesOf(part), ...filter, interval: part.interval })));
	const whole = answers.length > 1 ? (await import("./merge.js")).mergeSummaries(answers.reverse()) : answers[0];
	return { ...whole, period };
}

// Newest, number, and where asked for the oldest, of all posts.
/** @param {Get} get @returns {Promise<Parts["extent"]>} */
async function extent(get, deep) {
	const { insights: [newest], metadata } = await get("insights", { ...EVER, limit: 1 });
	const total = metadata.total_count;
	if (!newest) return { total };
	const found = { total, newest: Date.parse(newest.timestamp) + 1 };
	if (!deep) return found;
	let seen = 0;
	let { newest: end } = found;
	for (let step = 0; step < 20 && seen < total; step++) {
		const start = Math.floor((end - 1999 * DAY) / DAY) * DAY + DAY;
		const { series, totals } = await get("insights/summary", { ...timesOf({ start, end, whole: false }), interval: "day" });
		if (totals.count) found.oldest = Date.parse(series.find((day) => day.negative + day.neutral + day.positive).bucket);
		seen += totals.count;
		end = start - 1;
	}
	return { ...found, left: total - seen };
}

/** @param {Get} get @returns {Promise<List>} */
export async function listPage(get, view, period, cursor, limit = PAGE) {
	const which = view.order === "priority" ? { order: view.order } : timesOf(period);
	const { insights, metadata } = await get("insights", { ...which, ...filterOf(view), q: view.q, limit, cursor });
	return {
		rows: insights, cursor: metadata.next_cursor, total: metadata.total_count, order: view.order, missed: metadata.missed ?? 0,
		period: view.order === "priority" ? { ...period, start: Date.parse(metadata.start_time), end: Date.parse(metadata.end_time) } : period,
	};
}

// The page after those that are shown.
export const morePage = (get, state, list) => listPage(get, state.view, list.period, list.cursor);

export function questions(state) {
	const { view } = state;
	const known = state.answers.extent?.value;
	const desk = view.page === "desk";
	const figures = desk || view.page === "figures";
	const when = [view.range, view.start_time, view.end_time];
	const filter = filterOf(view);
	const waits = view.range === "all" && known?.oldest === undefined && known?.total !== 0;
	const now = (moment) => periodOf(view, moment, known);
	const before = (moment) => periodBefore(view, now(moment));
	const compared = periodBefore(view, now(state.now)) !== null;
	const list = [];
	/** @type {Want} */
	const want = (part, key, least, most, ask) => void list.push({ part, key: [part, ...key].join("|"), least, most, ask });

	// A browser asks six at a time: first those without which there is nothing to see.
	if (desk && !waits) {
		const times = view.order === "priority" ? [] : when;
		want("list", [view.order, ...times, ...Object.values(filter), view.q], 3_000, 30_000, (get, moment) => listPage(get, view, now(moment), null));
	}
	if (figures && !waits) {
		const key = [...when, ...Object.values(filter)];
		want("summary", key, 3_000, 30_000, (get, moment) => summary(get, now(moment), filter));
		if (compared) want("before", [...key, view.compare], 60_000, 60_000, (get, moment) => summary(get, before(moment), filter));
		if (view.cluster) {
			// Beside the topic that is chosen, the others as they would be without it.
			const others = { ...filter, cluster: "" };
			want("topics", [...when, ...Object.values(others)], 10_000, 30_000, (get, moment) => summary(get, now(moment), others));
			if (compared) want("topicsBefore", [...when, ...Object.values(others), view.compare], 60_000, 60_000, (get, moment) => summary(get, before(moment), others));
		}
	}
	want("stats", [], 10_000, 10_000, (get) => get("stats"));
	want("trends", [], 30_000, 60_000, (get) => get("trends", { window: "1h" }));
	want("bell", [], 10_000, 30_000, (get) => get("alerts", { state: "open", limit: 1 }));
	// The first posts, and the first after a long rest, are to be known of at once.
	want("extent", [view.range === "all"], known?.total >= FEW && known.newest > state.now - DAY ? 60_000 : 3_000, 60_000, (get) => extent(get, view.range === "all"));
	if (desk) {
		const last = (range, moment) => ({ ...timesOf(periodOf({ range }, moment, known)), limit: 1 });
		want("hour", [], 10_000, 30_000, (get, moment) => get("insights", last("1h", moment)));
		want("claimed", [], 3_000, 30_000, (get, moment) => get("insights", { ...last("30d", moment), handling: "claimed" }));
		want("snoozed", [], 3_000, 30_000, (get, moment) => get("insights", { ...last("30d", moment), handling: "snoozed" }));
	}
	if (desk && !waits) want("queue", [], 3_000, 30_000, (get) => get("insights", { order: "priority", limit: 1 }));
	if (desk && view.author) want("person", [view.author], 600_000, 600_000, (get) => get("authors", { prefix: view.author.slice(0, 100), limit: 100 }));
	if (desk && view.open) {
		want("open", [view.open], 10_000, 60_000, (get) => get(`conversations/${view.open}`));
		const author = state.answers.open?.value?.author;
		if (author && state.answers.open.value.conversation_id === view.open) {
			want("earlier", [author], 30_000, 60_000, (get) => get("insights", { ...EVER, author, limit: 6 }));
		}
	}
	if (desk && state.near && state.near !== view.open) want("near", [state.near], 600_000, 600_000, (get) => get(`conversations/${state.near}`));
	if (view.page === "figures" && !waits) {
		want("people", [...when], 30_000, 60_000, (get, moment) => get("authors", { ...timesOf(now(moment)), limit: 15 }));
	}
	if (view.page === "rules") {
		// Anew once the plan that is open begins or ends: what it does is in both.
		const stands = state.answers.plan?.value?.state;
		want("rules", [stands], 10_000, 30_000, (get) => get("rules"));
		want("plans", [stands], 10_000, 30_000, (get) => get("plans", { limit: 20 }));
		want("alerts", [], 5_000, 30_000, (get) => get("alerts", { limit: 50 }));
		want("alertRules", [], 10_000, 60_000, (get) => get("alert-rules"));
		want("endpoints", [], 10_000, 60_000, (get) => get("endpoints"));
		const moving = ["applying", "undoing"].includes(stands);
		if (view.plan) want("plan", [view.plan], 1_000, moving ? 1_000 : 60_000, (get) => get(`plans/${view.plan}`));
	}
	if (view.page === "analysis") want("failed", [state.failedShown], 10_000, 30_000, (get) => get("conversations/failed", { limit: state.failedShown }));
	const typed = state.typed.search?.trim().replace(/^@/, "");
	if (typed && typed.length >= 2 && state.typing) want("authors", [typed], 600_000, 600_000, (get) => get("authors", { prefix: typed.slice(0, 100), limit: 5 }));
	return list;
}

// Modules that not everybody needs at first. `page.js` loads those that a state needs.
export function modulesFor({ view, menu, sheet, askedForKey, answers, typing, near }) {
	const needed = [];
	if (view.kiosk) needed.push("kiosk");
	else if (view.page === "figures") needed.push("figures");
	else if (view.page === "rules") needed.push("rules", "alerts");
	else if (view.page !== "desk") needed.push(view.page);
	else if (view.open) needed.push("open");
	if (menu || view.range === "own" || sheet || askedForKey !== null) needed.push("more");
	if (typing) needed.push("suggest");
	if (near) needed.push("original");
	if (view.q) needed.push("search");
	if (answers.summary?.value?.totals.count === 0) needed.push("empty");
	return needed;
}

// The answer to what is asked for now. `stale` where it is the one to the question before.
/** @template {keyof Parts} Part @param {Part} part @returns {Answer<Parts[Part]>} */
export function answerTo(state, part) {
	const answer = state.answers[part];
	const question = state.questions?.[part];
	if (!answer || question === undefined) return { value: undefined, stale: false, loading: question !== undefined };
	const stale = answer.key !== question;
	return { ...answer, stale, problem: stale ? undefined : answer.problem };
}
