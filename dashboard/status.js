// The machine in a few words: whether analysis runs, and why not. Pure.

import { count, duration, plural } from "./format.js";
import { queueOf } from "./story.js";

const LONG = 300;

const safe = (waiting) => (waiting ? ` Your posts are safe: ${count(waiting)} ${waiting === 1 ? "waits" : "wait"}.` : " Your posts are safe.");

// `{ state: "good" | "care" | "bad", short, long }`. `problem` is what asking for `stats` met.
export function machineOf(stats, problem) {
	if (problem) return { state: "bad", short: "No connection", long: `${problem} What is shown may be old; it goes on by itself.` };
	if (!stats) return { state: "", short: "…", long: "" };
	const { waiting, failed, minutes } = queueOf(stats);
	const { breaker, analyser, bound_by, oldest_pending_seconds: oldest, fallback } = stats;
	const blocked = breaker?.state === "open" ? breaker.reason || "Grok cannot be reached." : analyser.blocked_reason;
	if (blocked) return { state: "bad", short: "Analysis stopped", long: `Analysis has stopped: ${blocked}${safe(waiting)}` };
	if (bound_by === "budget") {
		return { state: "bad", short: "Budget spent", long: `Today's budget is spent; analysis goes on at midnight UTC.${safe(waiting)}` };
	}
	if (fallback?.notice) return { state: "care", short: "Answers unreadable", long: fallback.notice };
	if (oldest > LONG) return { state: "care", short: `Behind: ${count(waiting)} wait`, long: `The oldest waits for ${duration(oldest)}.` };
	if (waiting >= 50) return { state: "care", short: `Analysing ${count(waiting)}`, long: minutes ? `About ${duration(60 * minutes)} to go.` : "" };
	if (failed) return { state: "care", short: `${count(failed)} not analysed`, long: `${plural(failed, "post")} could not be analysed.` };
	return { state: "good", short: "Analysis running", long: "Nothing waits." };
}
