// What keys do.

import { answerTo } from "./questions.js";
import { originalOf } from "./original.js";

let afterG = 0;

function step({ state, send }, by) {
	const all = [...document.querySelectorAll("#list .opener")];
	const at = all.findIndex((link) => link === document.activeElement || (document.activeElement === document.body && link.dataset.id === state.view.open));
	const next = all[at < 0 ? 0 : Math.min(all.length - 1, Math.max(0, at + by))];
	next?.focus();
	next?.scrollIntoView({ block: "nearest" });
	if (next && state.view.open) send(["see", { open: next.dataset.id }]);
}

function openOriginal(state) {
	const found = answerTo(state, state.view.open ? "open" : "near").value;
	const original = found && originalOf(found);
	if (original) window.open(original.href, "_blank", "noopener,noreferrer");
}

// `page` is a function that gives `{ state, send }`.
export const start = (page) => document.addEventListener("keydown", (event) => press(event, page()));

function press(event, page) {
	const { state, send } = page;
	const typing = event.target.closest?.("input, select, textarea, dialog");
	if (event.key === "Escape" && !typing) {
		if (state.menu) send(["menu", null]);
		else if (state.view.open) send(["closePost"]);
		return;
	}
	if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
	if (Date.now() - afterG < 1000 && "dfa".includes(event.key)) {
		afterG = 0;
		send(["see", { page: { d: "desk", f: "figures", a: "analysis" }[event.key], open: "" }]);
		return;
	}
	/** @type {HTMLInputElement | null} */
	const search = document.querySelector("#search");
	const done = {
		j: () => step(page, 1), k: () => step(page, -1), "?": () => send(["sheet", "keys"]), g: () => (afterG = Date.now()),
		"/": () => (search?.focus(), search?.select()), o: () => openOriginal(state),
	}[event.key];
	if (!done) return;
	event.preventDefault();
	done();
}
