// The machine itself: queue, calls, breaker, cost; and what failed.

import { ask, open, urlOf } from "./api.js";
import { $, el, keyed, say } from "./elements.js";
import { count, duration, percent, tenths, time, usd } from "./words.js";

const LONG = 300;
const SIGNS = { good: "✓", care: "!", bad: "✕" };

let guard; // the page's
let limit = 5; // of failed conversations shown
let failedBefore = 0;

const both = ({ live, bulk }) => live + bulk;
const lanes = (counts) => `${count(both(counts))} (${count(counts.live)} live, ${count(counts.bulk)} bulk)`;
const of = (value, limit, write) => write(value) + (limit ? ` of ${write(limit)}` : "");

// "good", "care" or "bad", and why.
function judge({ counts, oldest_pending_seconds, breaker, bound_by, analyser }) {
	const blocked = breaker?.state === "open" ? (breaker.reason ?? "the breaker is open") : analyser.blocked_reason;
	if (blocked) return ["bad", `Stopped: ${blocked}`];
	if (bound_by === "budget") return ["bad", "Stopped: today's budget is spent. It goes on at midnight UTC."];
	if (oldest_pending_seconds > LONG) return ["care", `Behind by ${duration(oldest_pending_seconds)}`];
	return both(counts.failed) ? ["care", `${count(both(counts.failed))} failed`] : ["good", "All well"];
}

export function startMachine(ofPage) {
	guard = ofPage;
	$("retry-all").onclick = () => retry("conversations/retry");
	$("more-failed").onclick = () => {
		limit = Math.min(1000, 4 * limit);
		guard("failed", showFailed);
	};
}

export function tellHealth(state, why) {
	$("health").className = `pill ${state}`;
	say($("health"), `${SIGNS[state]} ${why}`);
}

export function showMachine(stats) {
	const { counts, analyser, breaker, fallback, spending, reuse } = stats;
	const [state, why] = judge(stats);
	tellHealth(state, why);
	$("trouble").hidden = state !== "bad";
	say($("trouble"), why);
	$("fallback").hidden = !fallback?.notice;
	say($("fallback"), fallback?.notice ?? "");
	$("offline").hidden = !analyser.notice;
	say($("offline"), `${analyser.notice} Set GROK_KEY to use Grok.`);

	const { calls_per_second: calls, call_limit_per_second: most, oldest_pending_seconds: oldest } = stats;
	const { today, daily_budget_usd: budget } = spending ?? {};
	const probe = breaker?.next_probe_seconds;
	const facts = [
		["Waiting", lanes(counts.pending)],
		["Oldest waits", oldest !== null && duration(oldest)],
		["Under analysis", lanes(counts.processing)],
		["Completed", `${count(stats.completed_last_minute)} in a minute, ${count(stats.completed_last_hour)} in an hour`],
		["Calls per second", of(calls, most, tenths), calls / most],
		["Bound by", stats.bound_by],
		["Breaker", breaker && [breaker.state, breaker.reason, probe && `next try in ${duration(probe)}`].filter(Boolean).join(" · ")],
		["Cost today", today && of(today.cost_usd, budget, usd), today?.cost_usd / budget],
		["Reused today", reuse && percent(reuse.today_share)],
		["Not analysed today", fallback?.today && count(fallback.today)],
		["Analyser", `${analyser.name}, ${analyser.answering_model ?? analyser.model}`],
	];
	$("machine").replaceChildren(...facts.filter(([, value]) => value).map(([name, value, used]) =>
		el("div", el("dt", name), el("dd", value, used < Infinity && el("meter", { value: used, "aria-label": `${name}, used` })))));

	const failed = both(counts.failed);
	$("failed-panel").hidden = !failed;
	say($("failed-total"), count(failed));
	if (failed !== failedBefore) guard("failed", showFailed);
	failedBefore = failed;
}

async function showFailed() {
	const { conversations, metadata } = await ask("conversations/failed", { limit });
	$("failed-json").href = urlOf("conversations/failed", { limit });
	$("more-failed").hidden = !metadata.next_cursor;
	keyed($("failed"), conversations, ({ conversation_id }) => conversation_id,
		({ conversation_id: id, text, last_error, attempts, created_at }) => el("li",
			el("p.text", { dir: "auto" }, text),
			el("p.error", { dir: "auto" }, last_error),
			el("div.facts", time(created_at), `${count(attempts)} attempts`,
				el("a", { href: urlOf(`conversations/${id}`) }, "JSON"),
				el("button", { "aria-label": `Retry ${id}`, click: () => retry(`conversations/${id}/retry`) }, "Retry"))));
}

function retry(path) {
	guard("retry", async () => {
		const { retried = 1 } = await (await open(urlOf(path), { method: "POST" })).json();
		say($("announce"), `${count(retried)} back in the queue.`);
		$("failed-title").focus();
		await showFailed();
	});
}
