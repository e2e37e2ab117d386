// Where a reader is in the page: kept for who comes back, and more rows for who goes on.

import { searchOf } from "./address.js";
import { ask, urlOf } from "./api.js";
import { MOST_DRAWN } from "./desk.js";
import { answerTo, morePage } from "./questions.js";

const NEAR_END = 800; // pixels before the end at which more is loaded
const AROUND = 100; // rows before the first in sight that are drawn
const STEP = 50; // rows that are drawn or left out at once

// What is gone back from keeps its place: by the first row in sight, as rows out of sight have no
// height of their own yet.
function keepPlace() {
	const row = [...document.querySelectorAll("#list > .row")].find((row) => row.getBoundingClientRect().top > 0);
	const list = document.getElementById("list");
	const drawn = [Number(list?.dataset.from ?? 0), list?.querySelector("svg")?.getBoundingClientRect().height ?? 0];
	history.replaceState({ top: scrollY, row: row?.dataset.key, offset: row?.getBoundingClientRect().top, drawn }, "");
}

/** @param {{ top?: number, row?: string, offset?: number, drawn?: [number, number] }} place */
export function goToPlace({ top = 0, row: key, offset, drawn = [0, 0] }, { send, show }) {
	send(["drawn", ...drawn]);
	show();
	scrollTo(0, top);
	const row = key && top > 0 && [...document.querySelectorAll("#list > .row")].find((row) => row.dataset.key === key);
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
		moveDrawn(page());
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

// Draws the rows around those in sight. The others keep their height.
function moveDrawn({ send }) {
	const list = document.getElementById("list");
	const drawn = [...(list?.querySelectorAll(".row") ?? [])];
	if (!drawn.length) return;
	const before = Number(list.dataset.from);
	const top = drawn[0].getBoundingClientRect().top;
	const height = (drawn.at(-1).getBoundingClientRect().bottom - top) / drawn.length;
	const first = before + Math.floor(-top / height); // in sight
	const wanted = STEP * Math.floor((first - AROUND) / STEP);
	const from = Math.max(0, Math.min(wanted, Number(list.dataset.of) - MOST_DRAWN));
	if (from !== before) send(["drawn", from, Math.round(from * height)]);
}
