// The machine in full, languages, and why a post failed, in plain words. Pure.

import { count, duration, percent, tenths, usd } from "./format.js";
import { ended, queueOf, spentToday } from "./story.js";

const BOUNDS = {
	queue: "nothing: it waits for posts", rate: "the calls per second that Grok allows", concurrency: "the calls at once",
	budget: "the day's budget", breaker: "Grok, which does not answer as it should",
};

// Name, figure, and where it makes sense how much of the limit is used (0 to 1), for a table.
/** @param {Api.Stats} stats @returns {any[][]} */
export function machineFacts(stats) {
	const { counts, analyser, breaker, spending, reuse, fallback } = stats;
	const { waiting, failed, completed, minutes } = queueOf(stats);
	const { calls_per_second: calls, call_limit_per_second: most, oldest_pending_seconds: oldest } = stats;
	const { today, total, daily_budget_usd: budget } = spending ?? {};
	const probe = breaker?.next_probe_seconds;
	return [
		["Analysed", `${count(completed)} in all`],
		["Now", `${count(stats.completed_last_minute)} in the last minute, ${count(stats.completed_last_hour)} in the last hour`],
		["Waiting", waiting ? `${count(waiting)}${minutes ? `, about ${duration(60 * minutes)}` : ""}` : "nothing waits"],
		["Of them", waiting && `${count(counts.pending.live + counts.processing.live)} live, ${count(counts.pending.bulk + counts.processing.bulk)} from imports`],
		["The oldest waits for", oldest !== null && duration(oldest)],
		["Could not be analysed", failed && count(failed)],
		["Answers that could not be read", fallback?.today && `${count(fallback.today)} today`],
		["Speed is bound by", BOUNDS[stats.bound_by]],
		["Calls per second", most ? `${tenths(calls)} of ${tenths(most)}` : null, calls / most],
		["Connection to Grok", analyser.name === "offline" ? null : !breaker || breaker.state === "closed" ? "fine" : `${ended(breaker.reason)}${probe ? ` Next try in ${duration(probe)}.` : ""}`],
		["Spent today", today && (spentToday(stats) || usd(0)), budget ? today?.cost_usd / budget : undefined],
		["Spent in all", total && usd(total.cost_usd)],
		["From earlier analyses of equal texts", reuse && `${percent(reuse.today_share ?? 0)} of today's`],
		["Who judges", `${analyser.name === "offline" ? "the offline analyser" : "Grok"}, ${analyser.answering_model ?? analyser.model}`],
	].filter(([, value]) => value);
}

const languages = new Intl.DisplayNames(["en"], { type: "language", fallback: "code" });
export const languageName = (code) => (code === "und" ? "language unknown" : languages.of(code));

// What went wrong with one post, for people: the sentence, and whether trying again may help.
/** @type {[RegExp, string, boolean][]} */
const REASONS = [
	[/guideline|content.?(violation|filter)|refus/i, "Grok refuses this text. Trying again rarely helps.", false],
	[/context|too long|maximum.*token/i, "The text is too long for Grok.", false],
	[/HTTP 5\d\d|internal error|overload|capacity|unavailable/i, "Grok had an error of its own.", true],
	[/worker died/i, "The service stopped twice while it analysed this text.", true],
	[/timeout|timed out/i, "Grok took too long.", true],
	[/connect|reset|does not answer|unreachable/i, "Grok could not be reached.", true],
];

export function reasonOf(lastError) {
	const found = REASONS.find(([pattern]) => pattern.test(lastError ?? ""));
	return found ? { text: found[1], mends: found[2] } : { text: lastError || "Nobody knows why.", mends: true };
}

export const tries = (attempts) => (attempts === 1 ? "tried once" : attempts === 2 ? "tried twice" : `tried ${count(attempts)} times`);
