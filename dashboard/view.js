// The whole page as a function of the state. Pure.

import { desk } from "./desk.js";
import { head } from "./parts.js";
import { h } from "./render.js";

// Modules that not everybody needs at first. `page.js` loads those that a state needs.
export function modulesFor({ view, menu, sheet, askedForKey, answers }) {
	const needed = [];
	if (view.kiosk) needed.push("kiosk");
	else if (view.page === "figures") needed.push("figures");
	else if (view.page !== "desk") needed.push("analysis");
	else if (view.open) needed.push("open");
	if (menu || view.range === "own" || sheet || askedForKey !== null) needed.push("more");
	if (answers.summary?.value?.totals.count === 0) needed.push("empty");
	return needed;
}

export function view(state) {
	const { loaded } = state;
	const waiting = () => h("main", { id: "page", key: state.view.page, "aria-busy": "true" }, "Loading…");
	const { analysis, rules } = loaded.analysis ?? {};
	const draw = state.view.kiosk ? loaded.kiosk?.kiosk : { desk, figures: loaded.figures?.figures, analysis, rules }[state.view.page];
	return [loaded.more?.printHead(state), !state.view.kiosk && head(state), (draw ?? waiting)(state), loaded.more?.sheets(state)].filter(Boolean);
}
