// What keys do.

import { answerTo } from "./questions.js";
import { originalOf } from "./original.js";
import { mayWrite } from "./work.js";

const COMING = 10_000; // at most, for the field that `t` asks for

let afterG = 0;
let awaited = null; // whose field it is, and since when
let ahead = ""; // what is typed until it is there
// The row that had the focus last, and has lost it if to nothing else: then it was drawn anew.
let lastId = "";

function step({ state, send }, by) {
	const all = [...document.querySelectorAll("#list .opener")];
	const on = state.view.open || (document.activeElement === document.body && lastId);
	const focused = all.findIndex((link) => link === document.activeElement);
	const at = focused >= 0 ? focused : all.findIndex((link) => link.dataset.id === on);
	const next = all[at < 0 ? 0 : Math.min(all.length - 1, Math.max(0, at + by))];
	next?.focus();
	next?.scrollIntoView({ block: "nearest" });
	if (next && state.view.open) send(["see", { open: next.dataset.id }]);
}

// The post that keys are about: the row that has the focus, else the one that is open.
function current(state) {
	const focused = document.activeElement;
	return (focused instanceof HTMLElement && focused.dataset.id) || state.view.open;
}

const HANDLE = { c: "claimed", a: "answered", i: "ignored" };
const MOODS = { "-": "negative", 0: "neutral", "+": "positive", "=": "positive" };

// What a key does to the post it is about.
function deedOf(key, id) {
	if (HANDLE[key]) return ["handle", id, { state: HANDLE[key] }];
	if (MOODS[key]) return ["label", id, { sentiment: MOODS[key] }];
	return { s: ["askTime", id], t: ["editTopics", id], r: ["draftFrom", id] }[key];
}

function openOriginal(state) {
	const found = answerTo(state, state.view.open ? "open" : "near").value;
	const original = found && originalOf(found);
	if (original) window.open(original.href, "_blank", "noopener,noreferrer");
}

// `page` is a function that gives `{ state, send }`.
export const start = (page) => {
	document.addEventListener("keydown", (event) => press(event, page()));
	document.addEventListener("focusin", ({ target }) => {
		lastId = (target instanceof HTMLElement && target.dataset.id) || "";
		if (target instanceof HTMLInputElement && target.id === "topic") {
			target.value += ahead;
			awaitTopics(null);
		}
	});
};

function awaitTopics(id) {
	awaited = id && { id, since: Date.now() };
	ahead = "";
}

// Until the post is there, closed, or left for another page.
function isComing({ view, loaded }) {
	if (!awaited || Date.now() - awaited.since >= COMING || view.page !== "desk") return false;
	return (!loaded.work || view.open === awaited.id) && !document.getElementById("topics-of");
}

function press(event, page) {
	const { state, send } = page;
	const typing = event.target.closest?.("input, select, textarea, dialog");
	if (event.key === "Escape") {
		awaitTopics(null);
		if (!typing && state.menu) send(["menu", null]);
		else if (!typing && state.view.open) send(["closePost"]);
		else if (typing && !event.target.closest("dialog")) event.target.blur();
		return;
	}
	if (typing || !state.keys || event.ctrlKey || event.metaKey || event.altKey) return;
	if (isComing(state)) {
		const erases = event.key === "Backspace";
		if (!erases && event.key.length > 1) return;
		event.preventDefault();
		ahead = erases ? ahead.slice(0, -1) : ahead + event.key;
		return;
	}
	if (Date.now() - afterG < 1000 && "dfra".includes(event.key)) {
		afterG = 0;
		send(["see", { page: { d: "desk", f: "figures", r: "rules", a: "analysis" }[event.key], open: "" }]);
		return;
	}
	const id = state.view.page === "desk" && mayWrite(state) && current(state);
	const deed = id && deedOf(event.key, id);
	if (deed) {
		event.preventDefault();
		awaitTopics(event.key === "t" ? id : null);
		send(deed);
		return;
	}
	/** @type {HTMLInputElement | null} */
	const search = document.querySelector("#search");
	const done = {
		j: () => step(page, 1), k: () => step(page, -1), "?": () => send(["sheet", "keys"]), g: () => (afterG = Date.now()),
		"/": () => (search?.focus(), search?.select()), o: () => openOriginal(state), u: () => send(["undo"]),
	}[event.key];
	if (!done) return;
	event.preventDefault();
	done();
}
