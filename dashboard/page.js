// The page put together: one state, one drawing of it for each frame, and what reaches beyond both:
// the address, the network, the clock, the focus, the desktop.

import { searchOf } from "./address.js";
import { ask, follow, onKeyNeeded, serviceAddress, urlOf } from "./api.js";
import { currentAlarms, currentMachine } from "./current.js";
import { Live } from "./live.js";
import { Loader } from "./loader.js";
import { answerTo, morePage } from "./questions.js";
import { mount } from "./render.js";
import { change, initialState } from "./state.js";
import { alarmText, titleOf } from "./story.js";
import { modulesFor, view } from "./view.js";

const TOGETHER = 1000; // what comes in is asked for once a second
const NEAR_END = 800; // pixels before the end at which more is loaded
const LATER = 2000; // what may be needed next is loaded when the page stands
const THEMES = ["auto", "light", "dark"];
const $ = (id) => document.getElementById(id);

let state = initialState(location.search, Date.now(), {
	minute: Date.now(),
	service: serviceAddress,
	theme: localStorage.getItem("insights-theme") ?? "auto",
	notices: globalThis.Notification?.permission ?? "unsupported",
});
const draw = mount(document.body, send, () => frame && show());
const loader = new Loader(send, isCalm);
let frame;

// Every change goes through here: first what it makes of the state, then what it does elsewhere.
function send(event, dom) {
	if (EFFECTS[event[0]]) {
		const sent = EFFECTS[event[0]](event, dom);
		if (!Array.isArray(sent)) return;
		event = sent;
	}
	const before = state;
	state = change(state, event);
	if (state === before) return;
	if (state.view !== before.view && event[0] !== "went") tellAddress(before.view);
	if (before.questions !== state.questions) loader.sync(state);
	loadModules();
	frame ??= requestAnimationFrame(show);
}

const loadingModules = new Map();
function load(name) {
	if (!loadingModules.has(name)) {
		const loading = Promise.all([import(`./${name}.js`), loadStyle()]).then(([module]) => module);
		loading.then((module) => send(["loaded", name, module]), () => loadingModules.delete(name)); // asked for again with the next event
		loadingModules.set(name, loading);
	}
	return loadingModules.get(name);
}
const loadModules = () => modulesFor(state).forEach(load);

let style;
const loadStyle = () => (style ??= new Promise((resolve, reject) => {
	const link = Object.assign(document.createElement("link"), { rel: "stylesheet", href: new URL("more.css", import.meta.url) });
	link.onload = resolve;
	link.onerror = () => reject((style = undefined));
	document.head.append(link);
}));

const act = ([name, ...args]) => load("actions").then((actions) => actions[name]({ state, send, loader }, ...args));

function show() {
	cancelAnimationFrame(frame);
	frame = undefined;
	draw(view(state));
	document.documentElement.dataset.theme = state.theme;
	const alarms = currentAlarms(state);
	const title = titleOf(alarms, currentMachine(state), state.view.page);
	if (document.title !== title) document.title = title;
	notify(alarms);
	fill();
}

// --- the address ----------------------------------------------------------------------------------

// What is gone back from keeps its place: by the first row in sight, as rows out of sight have no
// height of their own yet.
function keepPlace() {
	const row = [...document.querySelectorAll("#list > li")].find((row) => row.getBoundingClientRect().top > 0);
	history.replaceState({ top: scrollY, row: row?.dataset.key, offset: row?.getBoundingClientRect().top }, "");
}

function goToPlace({ top = 0, row: key, offset } = {}) {
	scrollTo(0, top);
	const row = key && top > 0 && [...document.querySelectorAll("#list > li")].find((row) => row.dataset.key === key);
	// Again once rows that have come into sight have got their height.
	const align = (left) => {
		scrollBy(0, row.getBoundingClientRect().top - offset);
		if (left) requestAnimationFrame(() => align(left - 1));
	};
	if (row) align(3);
}

function tellAddress(before) {
	const address = location.pathname + (searchOf(state.view) || "");
	const moved = searchOf({ ...before, open: "" }) !== searchOf({ ...state.view, open: "" });
	// One post after the other is one step to go back.
	if (moved || Boolean(before.open) !== Boolean(state.view.open)) {
		keepPlace();
		history.pushState({}, "", address);
		if (moved) scrollTo(0, 0);
	} else history.replaceState(history.state, "", address);
}

history.scrollRestoration = "manual";
window.onpopstate = (event) => {
	send(["went", location.search]);
	show();
	goToPlace(event.state ?? {});
};
addEventListener("scroll", () => {
	clearTimeout(keepPlace.timer);
	keepPlace.timer = setTimeout(keepPlace, 150);
	fill();
}, { passive: true });

// --- what events do beyond the state --------------------------------------------------------------

const EFFECTS = {
	openPost([, id], dom) {
		dom?.preventDefault();
		return ["see", { open: id === state.view.open ? "" : id }];
	},
	closePost() {
		const id = state.view.open;
		send(["see", { open: "" }]);
		show();
		focusRow(id);
	},
	see(event, dom) {
		dom?.preventDefault?.();
		const [, patch] = event;
		if (patch.q !== undefined || patch.cluster !== undefined || patch.author !== undefined) $("search")?.blur();
		return event;
	},
	showHeld() {
		queueMicrotask(() => {
			show();
			$("list-title")?.focus();
			$("list-title")?.scrollIntoView({ block: "nearest" });
		});
		return ["showHeld"];
	},
	nextTheme() {
		const theme = THEMES[(THEMES.indexOf(state.theme) + 1) % THEMES.length];
		localStorage.setItem("insights-theme", theme);
		return ["theme", theme];
	},
	pause() {
		queueMicrotask(goOnOrStop);
		return ["pause"];
	},
	askForNotices: act,
	copyLink: act,
	retry: act,
	async loadMore() {
		await loadMore();
	},
	giveKey([, key]) {
		send(["askForKey", null]);
		keyGiven?.(key);
	},
};

let keyGiven;
onKeyNeeded((why) => {
	send(["askForKey", why ?? "A key is needed."]);
	return new Promise((resolve) => (keyGiven = resolve));
});

// --- the list -------------------------------------------------------------------------------------

// Whether rows may move: the top of the list is in sight, and nobody reads, points or types there.
function isCalm() {
	const list = $("list");
	return !list || (list.getBoundingClientRect().top > 0 && !list.matches(":hover, :focus-within"));
}

let loading = null;
async function loadMore() {
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

function fill() {
	const more = $("more");
	if (more && !state.notes.list && more.getBoundingClientRect().top < innerHeight + NEAR_END) loadMore();
}

// --- keys -----------------------------------------------------------------------------------------

const links = () => [...document.querySelectorAll("#list .opener")];
const focusRow = (id) => links().find((link) => link.dataset.id === id)?.focus();
let afterG = 0;

function step(by) {
	const all = links();
	const at = all.findIndex((link) => link === document.activeElement || (document.activeElement === document.body && link.dataset.id === state.view.open));
	const next = all[at < 0 ? 0 : Math.min(all.length - 1, Math.max(0, at + by))];
	next?.focus();
	next?.scrollIntoView({ block: "nearest" });
	if (next && state.view.open) send(["see", { open: next.dataset.id }]);
}

document.addEventListener("keydown", (event) => {
	const typing = event.target.closest?.("input, select, textarea, dialog");
	if (event.key === "Escape" && !typing) {
		if (state.menu) send(["menu", null]);
		else if (state.view.open) EFFECTS.closePost();
		return;
	}
	if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
	if (Date.now() - afterG < 1000 && "dfa".includes(event.key)) {
		afterG = 0;
		send(["see", { page: { d: "desk", f: "figures", a: "analysis" }[event.key], open: "" }]);
		return;
	}
	const done = {
		j: () => step(1), k: () => step(-1), "?": () => send(["sheet", "keys"]), g: () => (afterG = Date.now()),
		"/": () => ($("search")?.focus(), $("search")?.select()),
		o() {
			const found = answerTo(state, "open").value;
			const original = found && state.loaded.open?.originalOf(found);
			if (original) window.open(original.href, "_blank", "noopener,noreferrer");
		},
	}[event.key];
	if (!done) return;
	event.preventDefault();
	done();
});

document.addEventListener("click", (event) => {
	follow(event).catch((problem) => send(["note", "list", problem.message, true]));
	if (state.menu === "more" && !event.target.closest(".menu-place")) send(["menu", null]);
});

// --- what comes in --------------------------------------------------------------------------------

let news;
const live = new Live(() => (news ??= setTimeout(() => {
	news = undefined;
	loader.nudge();
}, TOGETHER)), (name, seconds) => {
	send(["live", { state: name, until: Date.now() + 1000 * (seconds ?? 0) }]);
	if (name === "live") loader.nudge();
});

// Runs while the page is seen and not paused.
function goOnOrStop() {
	const run = !state.paused && !document.hidden;
	for (const part of [loader, live]) run ? part.start() : part.stop();
}
document.onvisibilitychange = goOnOrStop;

let told = new Set();
function notify(alarms) {
	const news = alarms.filter(({ cluster }) => !told.has(cluster));
	told = new Set(alarms.map(({ cluster }) => cluster));
	if (news.length && state.notices === "granted" && document.hidden) new Notification(alarmText(news[0]), { tag: "insights-alarm" });
}

// --- start ----------------------------------------------------------------------------------------

setInterval(() => {
	const now = Date.now();
	const minute = now - (now % 60_000);
	if (minute !== state.minute || state.live.state === "lost") send(["tick", now, minute]);
}, 1000);
loader.sync(state);
loadModules();
setTimeout(() => ["more", "open", "actions"].forEach(load), LATER);
show();
goOnOrStop();
