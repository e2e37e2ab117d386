// Where a reader is in the page: kept for who comes back, and more rows for who goes on.

import { searchOf } from "./address.js";
import { ask, urlOf } from "./api.js";
import { answerTo, morePage } from "./questions.js";

const NEAR_END = 800; // pixels before the end at which more is loaded

// What is gone back from keeps its place: by the first row in sight, as rows out of sight have no
// height of their own yet.
function keepPlace() {
	const row = [...document.querySelectorAll("#list > li")].find((row) => row.getBoundingClientRect().top > 0);
	history.replaceState({ top: scrollY, row: row?.dataset.key, offset: row?.getBoundingClientRect().top }, "");
}

/** @param {{ top?: number, row?: string, offset?: number }} place */
export function goToPlace({ top = 0, row: key, offset }) {
	scrollTo(0, top);
	const row = key && top > 0 && [...document.querySelectorAll("#list > li")].find((row) => row.dataset.key === key);
	// Again once rows that have come into sight have got their height.
	const align = (left) => {
		scrollBy(0, row.getBoundingClientRect().top - offset);
		if (left) requestAnimationFrame(() => align(left - 1));
	};
	if (row) align(3);
}

// `page` is a function that gives `{ state, send, show }`.
export function start(page) {
	history.scrollRestoration = "manual";
	let scrolling;
	addEventListener("scroll", () => {
		clearTimeout(scrolling);
		scrolling = setTimeout(keepPlace, 150);
		fill(page());
	}, { passive: true });
}

export function tellAddress(view, before) {
	const address = location.pathname + (searchOf(view) || "");
	const moved = searchOf({ ...before, open: "" }) !== searchOf({ ...view, open: "" });
	// One post after the other is one step to go back.
	if (moved || Boolean(before.open) !== Boolean(view.open)) {
		keepPlace();
		history.pushState({}, "", address);
		if (moved) scrollTo(0, 0);
	} else history.replaceState(history.state, "", address);
}

let loading = null;
export async function loadMore({ state, send }) {
	const { value: list, key, stale } = answerTo(state, "list");
	if (!list?.cursor || stale || loading === key) return;
	loading = key;
	try {
		const get = (path, parameters) => ask(urlOf(path, parameters));
		send(["more", key, await morePage(get, state, list)]);
	} catch (problem) {
		send(["note", "list", problem.message, true]);
	} finally {
		loading = null;
	}
}

export function fill(page) {
	const more = document.getElementById("more");
	if (more && !page.state.notes.list && more.getBoundingClientRect().top < innerHeight + NEAR_END) loadMore(page);
}
