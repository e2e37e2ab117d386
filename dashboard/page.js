// The page put together: one state, one drawing of it for each frame, and what reaches beyond both:
// the address, the network, the clock, the focus, the desktop.

import { onKeyNeeded, serviceAddress, wait } from "./api.js";
import { desk } from "./desk.js";
import { Loader } from "./loader.js";
import { head } from "./parts.js";
import { modulesFor } from "./questions.js";
import { h, mount } from "./render.js";
import { change, initialState } from "./state.js";
import { currentAlarms, currentMachine, titleOf } from "./story.js";

// Loaded when the first sight stands, or before if somebody needs one.
const NEXT = ["lists", "places", "keys", "pointing", "hints", "suggest", "more", "open", "actions", "work", "live", "original", "search"];
const RETRY_SECONDS = 2;
const LOOKED = "insights-looked";
const lastLooked = () => Number(localStorage.getItem(LOOKED)) || null;
const $ = (id) => document.getElementById(id);

let state = initialState(location.search, Date.now(), {
	minute: Date.now(),
	service: serviceAddress,
	theme: localStorage.getItem("insights-theme") ?? "auto",
	keys: localStorage.getItem("insights-keys") !== "off",
	looked: lastLooked(),
	me: localStorage.getItem("insights-name") ?? "",
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
	if (state.view !== before.view && event[0] !== "went") later("places", (places) => places.tellAddress(state.view, before.view));
	if (before.questions !== state.questions) loader.sync(state);
	loadModules();
	frame ??= requestAnimationFrame(show);
}

const loadingModules = new Map();
function load(name) {
	if (!loadingModules.has(name)) {
		const file = () => (NEXT.includes(name) ? import("./next.js").then((all) => all[name]) : import(`./${name}.js`));
		// However often the service has to be asked.
		const loaded = () => Promise.all([file(), loadStyle()]).then(([module]) => module, () => wait(1000 * RETRY_SECONDS).then(loaded));
		const loading = loaded();
		loading.then((module) => send(["loaded", name, module]));
		loadingModules.set(name, loading);
	}
	return loadingModules.get(name);
}
// At once, if it is loaded.
const later = (name, use) => (state.loaded[name] ? use(state.loaded[name]) : load(name).then(use));
const loadModules = () => modulesFor(state).forEach(load);

let style;
const loadStyle = () => (style ??= new Promise((resolve, reject) => {
	const link = Object.assign(document.createElement("link"), { rel: "stylesheet", href: new URL("more.css", import.meta.url) });
	link.onload = resolve;
	link.onerror = () => {
		link.remove();
		reject((style = undefined));
	};
	document.head.append(link);
}));

// Events that a module deals with: each function gets the page, and what the event holds.
const effectsOf = (module, ...names) => Object.fromEntries(names.map((name) => [name, (event) => effect(module, ...event)]));
const effect = (module, name, ...args) => later(module, (found) => found[name]({ state, send, loader, show }, ...args));

// The whole page as a function of the state.
function view(state) {
	const { loaded } = state;
	const waiting = () => h("main", { id: "page", key: state.view.page, "aria-busy": "true" }, "Loading…");
	const draw = state.view.kiosk ? loaded.kiosk?.kiosk : { desk, figures: loaded.figures?.figures, analysis: loaded.analysis?.analysis, rules: loaded.rules?.rules }[state.view.page];
	return [
		loaded.more?.printHead(state), !state.view.kiosk && head(state), (draw ?? waiting)(state),
		loaded.work?.toast(state), loaded.work?.heard(state), loaded.more?.sheets(state), loaded.work?.workSheets(state),
	].filter(Boolean);
}

function show() {
	cancelAnimationFrame(frame);
	frame = undefined;
	draw(view(state));
	document.documentElement.dataset.theme = state.theme;
	const alarms = currentAlarms(state);
	const title = titleOf(alarms, currentMachine(state), state.view.page);
	if (document.title !== title) document.title = title;
	state.loaded.actions?.notify(state, alarms);
	if (!stands && !$("page")?.matches("[aria-busy=true]")) goOnFromHere();
	state.loaded.places?.fill({ state, send });
}

// --- what events do beyond the state --------------------------------------------------------------

const EFFECTS = {
	...effectsOf("actions", "closePost", "showNew", "nextTheme", "switchKeys", "askForNotices", "copyLink", "rest", "retry"),
	...effectsOf("work", "handle", "label", "addTopics", "unlabel", "undo", "giveName", "editTopics"),
	...effectsOf("drafts", "draftFrom", "closeDraft", "preview", "makeRule", "planRule", "changeRule", "removeRule", "applyPlan", "undoPlan"),
	...effectsOf("alerting", "acknowledge", "mute", "makeAlertRule", "changeAlertRule", "removeAlertRule", "tryAlertRule",
		"leaveForm", "makeEndpoint", "enableEndpoint", "removeEndpoint", "rotateSecret", "testEndpoint", "sentTo", "resend"),
	openPost([, id], dom) {
		dom?.preventDefault();
		return ["see", { open: id === state.view.open ? "" : id }];
	},
	see(event, dom) {
		dom?.preventDefault?.();
		const [, patch] = event;
		if (patch.q !== undefined || patch.cluster !== undefined || patch.author !== undefined) $("search")?.blur();
		return event;
	},
	kept(event) {
		if (event[1] === "list") queueMicrotask(() => live?.catchUp());
		return event;
	},
	pause() {
		queueMicrotask(goOnOrStop);
		return ["pause"];
	},
	// Enter before what it needs is loaded.
	takeTyped() {
		later("suggest", ({ take }) => send(take(state)));
	},
	loadMore() {
		later("places", ({ loadMore }) => loadMore({ state, send }));
	},
	giveKey([, key]) {
		send(["askForKey", null]);
		keyGiven?.(key);
	},
};

let keyGiven;
onKeyNeeded((why) => {
	send(["askForKey", why ?? ""]);
	return new Promise((resolve) => (keyGiven = resolve));
});

// --- the list -------------------------------------------------------------------------------------

// Whether rows may move: the top of the list is in sight, and nobody reads, points or types there.
function isCalm() {
	const list = $("list");
	return !list || (list.getBoundingClientRect().top > 0 && !list.matches(":hover, :focus-within"));
}

window.onpopstate = (event) => {
	send(["went", location.search]);
	show();
	later("places", ({ goToPlace }) => goToPlace(event.state ?? {}, { send, show }));
};

// --- links and menus -------------------------------------------------------------------------------

document.addEventListener("click", (event) => {
	if (event.target.closest("a")?.href.includes("/api/v1/")) effect("actions", "follow", event);
	if (state.menu === "more" && !event.target.closest(".menu-place")) send(["menu", null]);
});

// --- what comes in --------------------------------------------------------------------------------

let live;
// Runs while the page is seen and not paused.
function goOnOrStop() {
	const run = !state.paused && !document.hidden;
	for (const part of [loader, live]) run ? part?.start() : part?.stop();
}
document.onvisibilitychange = () => {
	if (document.hidden) localStorage.setItem(LOOKED, `${Date.now()}`);
	else send(["looked", lastLooked()]);
	goOnOrStop();
};

// What is not needed at first sight, when that is there.
let stands = false;
function goOnFromHere() {
	stands = true;
	performance.mark("first sight");
	for (const name of NEXT) load(name).then(({ start }) => start?.(() => ({ state, send, show })));
	load("live").then(({ hear }) => {
		live = hear(send, loader, () => state);
		goOnOrStop();
	});
}

// --- start ----------------------------------------------------------------------------------------

setInterval(() => {
	const now = Date.now();
	const minute = now - (now % 60_000);
	if (minute !== state.minute || state.live.state === "lost" || state.done) send(["tick", now, minute]);
}, 1000);
loader.sync(state);
loadModules();
show();
goOnOrStop();
