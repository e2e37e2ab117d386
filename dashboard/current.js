// The two signs that every page has: what customers say, and how the machine is. Pure.

import { answerTo } from "./questions.js";
import { machineOf } from "./status.js";
import { alarmsOf } from "./story.js";

export const currentAlarms = (state) => alarmsOf(answerTo(state, "trends").value);

export function currentMachine(state) {
	const { value, problem } = answerTo(state, "stats");
	return machineOf(value, problem?.text);
}
