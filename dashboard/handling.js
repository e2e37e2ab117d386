// Who handles a post, in words. Pure.

import { age, time } from "./format.js";

/** @type {Handling} */
export const OPEN = { state: "open", by: null, until: null, at: null };

// As it is now: a claim or a rest that has run out is open again.
/** @param {Handling | null | undefined} handling @returns {Handling} */
export const handlingNow = (handling, now) => (!handling || (handling.until && Date.parse(handling.until) <= now) ? OPEN : handling);

// Whether somebody else is at work on it, or nobody needs to be.
export const isTaken = ({ state, by }, me) => state !== "open" && !(state === "claimed" && by === me);

/** @param {Handling} handling */
export function handlingText({ state, by, until, at }, now, me) {
	const who = by === me ? "you" : by;
	if (state === "claimed") return `${by === me ? "yours" : `${by} has it`} until ${time(until, now)}`;
	if (state === "snoozed") return `snoozed by ${who} until ${time(until, now)}`;
	return state === "open" ? "" : `${state} by ${who}, ${age(at, now)}`;
}
