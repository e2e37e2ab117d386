// What readers do beyond looking. Each gets the page's `{ state, send, loader, show }` and what the event
// holds.

import { ownRange, searchOf } from "./address.js";
import { API, ask, currentKey, open, urlOf } from "./api.js";
import { plural } from "./format.js";
import { periodOf } from "./periods.js";
import { alarmText } from "./story.js";

export async function askForNotices({ send }) {
	send(["notices", await Notification.requestPermission()]);
}

let told = new Set();
export function notify(state, alarms) {
	const news = alarms.filter(({ cluster }) => !told.has(cluster));
	told = new Set(alarms.map(({ cluster }) => cluster));
	if (news.length && state.notices === "granted" && document.hidden) new Notification(alarmText(news[0], state.answers.stats?.value), { tag: "insights-alarm" });
}

const RESTS = 150; // on a row, that is meant
let resting;
// A row that is rested on, or has the focus: what is known of it may lead to where it was written.
export function rest({ send }, id) {
	clearTimeout(resting);
	resting = setTimeout(() => send(["near", id]), RESTS);
}

export function closePost({ state, send, show }) {
	const id = state.view.open;
	send(["see", { open: "" }]);
	show();
	[...document.querySelectorAll("#list .opener")].find((link) => link.dataset.id === id)?.focus();
}

export function showNew({ send, show }) {
	send(["showHeld"]);
	show();
	const title = document.getElementById("list-title");
	title?.focus();
	title?.scrollIntoView({ block: "nearest" });
}

const THEMES = ["auto", "light", "dark"];
export function nextTheme({ state, send }) {
	const theme = THEMES[(THEMES.indexOf(state.theme) + 1) % THEMES.length];
	localStorage.setItem("insights-theme", theme);
	send(["theme", theme]);
}

export function switchKeys({ state, send }) {
	localStorage.setItem("insights-keys", state.keys ? "off" : "on");
	send(["keys", !state.keys]);
}

// Of a "post", of the "moving" view, or of it "fixed" to the time that is shown.
export async function copyLink({ state, send }, kind) {
	const { start, end } = periodOf(state.view, Date.now(), state.answers.extent?.value);
	const view = { ...state.view, ...(kind === "fixed" && ownRange(start, end)) };
	const address = location.origin + location.pathname + searchOf(view);
	const copied = await navigator.clipboard?.writeText(address).then(() => true, () => false);
	send(["note", kind === "post" ? "post" : "list", copied ? "The link is copied." : address]);
	if (kind !== "post") send(["menu", null]);
}

export async function retry({ send, loader }, id) {
	const path = id === "all" ? "conversations/retry" : `conversations/${id}/retry`;
	try {
		const { retried = 1 } = await ask(urlOf(path), { method: "POST" });
		send(["note", "retry", `${plural(retried, "post")} back in the queue.`]);
	} catch (problem) {
		send(["note", "retry", problem.status === 404 ? "That post has been erased meanwhile." : problem.message, true]);
	}
	loader.renew("failed");
	loader.renew("stats");
	document.getElementById("failed-title")?.focus();
}

// As the service has it, for what is saved.
const fileName = ({ headers }) => headers.get("Content-Disposition")?.match(/filename="([^"]+)"/)?.[1];

// A link cannot carry a key: where there is one, what it leads to is fetched, then shown or saved.
export async function follow({ send }, event) {
	const link = event.target.closest("a");
	if (!link.href.startsWith(location.origin + API)) return;
	if (!link.download) link.target = "_blank";
	if (!currentKey()) return;
	event.preventDefault();
	try {
		const got = link.cloneNode();
		const response = await open(link.href);
		got.href = URL.createObjectURL(await response.blob());
		if (link.download) got.download = fileName(response) ?? link.download;
		got.click();
		setTimeout(() => URL.revokeObjectURL(got.href), 60_000);
	} catch (problem) {
		send(["note", "list", problem.message, true]);
	}
}
