// What readers do to posts: who handles them, and what they are about. It can be undone for ten
// seconds. Each effect gets the page's `{ state, send, loader, show }` and what the event holds.

import { ask, urlOf } from "./api.js";
import { SIGNS, capital, sentimentOf, topicName } from "./format.js";
import { OPEN, handlingNow, handlingText, isTaken } from "./handling.js";
import { answerTo } from "./questions.js";
import { h } from "./render.js";
import { sameTextKey } from "./same.js";

const UNDO = 10_000;
const NAME = "insights-name";

// What is known of a post, in the list's shape, wherever it is shown.
export function itemOf(state, id) {
	const { value: list } = answerTo(state, "list");
	const { value: open } = answerTo(state, "open");
	const row = list?.rows.find((row) => row.conversation_id === id);
	return row ?? (open?.conversation_id === id && open.insight ? { ...open, ...open.insight } : undefined);
}

export const write = (path, method, body) =>
	ask(urlOf(path), { method, ...(body && { headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) }) });

// Whether the reader's key changes anything. While that is not known the service says so itself.
export const mayWrite = (state) => answerTo(state, "stats").value?.key_scope !== "read";

export const did = ({ send }, text, more = {}) => send(["did", { text, until: Date.now() + UNDO, ...more }]);

export function failed(page, problem, more) {
	if (problem.status === 403) page.loader.renew("stats"); // the key may less than before
	did(page, problem.message, { bad: true, ...more });
}

// Does something, and shows what comes of it.
export async function doing(page, work, ...parts) {
	try {
		await work();
	} catch (problem) {
		failed(page, problem);
	}
	for (const part of parts) page.loader.renew(part);
}

// Of a form whose mistakes are told beside it.
export function noted({ send, loader }, form, problem) {
	if (problem.status === 403) loader.renew("stats");
	send(["note", form, problem.message, true]);
}

// --- handling -------------------------------------------------------------------------------------

const MOST_MINUTES = 480; // of a claim
const DONE = { claimed: "It is yours for 15 minutes.", answered: "Answered.", snoozed: "Snoozed.", ignored: "Ignored.", open: "Open again." };

// What gives back, as the API takes it, what was `before`: in the name of whoever had set it. A claim
// ends where it did but for some seconds, since claims are asked for in whole minutes.
export function wayBack(before, now, me) {
	const { state, by, until } = handlingNow(before, now);
	const minutes = Math.round((Date.parse(until) - now) / 60_000);
	return {
		state, by: by ?? me, note: `undone by ${me}`,
		...(state === "snoozed" && { until }),
		...(state === "claimed" && { minutes: Math.min(MOST_MINUTES, Math.max(1, minutes)), take_over: true }),
	};
}

// What the service will make of it, to be shown at once.
function foreseen({ state, by, minutes = 15, until }, now) {
	if (state === "open") return OPEN;
	const ends = ["claimed", "snoozed"].includes(state) ? (until ?? new Date(now + 60_000 * minutes).toISOString()) : null;
	return { state, by, at: new Date(now).toISOString(), until: ends };
}

// `wanted` is what the API takes, without the name; of what undoes, the handling of before. Nothing
// leads back from that.
export async function handle(page, id, wanted, undoes = false) {
	const { state, send, loader } = page;
	if (!state.me) return send(["askName", ["handle", id, wanted]]);
	const now = Date.now();
	const shown = handlingNow(itemOf(state, id)?.handling, now);
	const body = undoes ? wayBack(wanted, now, state.me) : { by: state.me, ...wanted };
	const another = ({ by }) => by !== state.me && by !== body.by && !wanted.take_over;
	const meets = (is) => is.state === "claimed" && another(is);
	// Whatever another did that is not shown yet.
	const isNews = (is) => isTaken(is, state.me) && another(is) && (is.state !== shown.state || is.by !== shown.by);
	const again = ["handle", id, { ...wanted, take_over: true }, undoes];
	if (meets(shown)) return askFirst(page, shown, body.state, again);
	send(["handled", id, foreseen(body, now)]);
	if (!undoes && body.state !== "claimed" && body.state !== "open") goOn(page, id);
	try {
		const before = await handlingOf(id);
		if (meets(before) || isNews(before)) {
			send(["handled", id, before]);
			return askFirst(page, before, body.state, again);
		}
		const { conversation_id, ...handling } = await write(`conversations/${id}/handling`, "POST", body);
		send(["handled", conversation_id, handling]);
		if (undoes) did(page, backAgain(handling, state.me));
		else did(page, DONE[body.state], { undo: ["handle", id, before, true] });
	} catch (problem) {
		send(["handled", id, shown]);
		const holder = problem.status === 409 && await handlingOf(id).catch(() => null); // somebody was faster
		if (holder) send(["handled", id, holder]);
		if (holder && meets(holder)) askFirst(page, holder, body.state, again);
		else failed(page, problem);
	}
	loader.nudge();
}

const ANYWAY = { claimed: "Take it over", answered: "Answer it anyway", snoozed: "Snooze it anyway", ignored: "Ignore it anyway", open: "Open it anyway" };

// What a colleague holds is left to them unless the reader says so: who it is, and until when by the
// reader's clock.
function askFirst(page, holder, wanted, again) {
	did(page, `${handlingText(holder, Date.now(), page.state.me)}.`, { bad: true, more: [ANYWAY[wanted], again] });
}

// From whoever keeps it, since what is shown may be of a moment ago.
async function handlingOf(id) {
	const { state, by, until, at } = await ask(urlOf(`conversations/${id}/handling`));
	return { state, by, until, at };
}

function backAgain(handling, me) {
	const text = handlingText(handling, Date.now(), me);
	return text ? `As before: ${text}.` : DONE.open;
}

// To the next post that nobody has dealt with, opened if this one is.
function goOn({ state, send, show }, id) {
	show();
	const rows = [...document.querySelectorAll("#list > .row")];
	const at = rows.findIndex((row) => row.dataset.key === id);
	const next = at >= 0 && rows.slice(at + 1).find((row) => !row.matches(".taken"));
	if (!next) return;
	/** @type {HTMLElement} */
	const link = next.querySelector(".opener");
	link.focus();
	next.scrollIntoView({ block: "nearest" });
	if (state.view.open === id) send(["see", { open: next.dataset.key }]);
}

export function giveName({ state, send }, name) {
	if (!name) return;
	localStorage.setItem(NAME, name);
	const { waiting } = state;
	send(["named", name]);
	if (waiting) send(waiting);
}

export function undo(page) {
	const { state, send } = page;
	if (!state.done?.undo) return did(page, "There is nothing to undo any more.");
	send(["did", null]);
	send(state.done.undo);
}

// --- labels ---------------------------------------------------------------------------------------

// Those named in a text, as they are stored.
export const asTopics = (text) => text.split(",").map((name) => name.trim().toLowerCase().replace(/\s+/g, "_")).filter(Boolean);

const differs = (a, b) => JSON.stringify(a) !== JSON.stringify(b);

// What a person has said of a post, as the API takes it: what is not as it was before.
export function labelOf({ grok_analysis: { sentiment_score, clusters }, labelled }) {
	if (labelled?.by !== "person") return {};
	const { was } = labelled;
	return {
		...(was.sentiment_score !== sentiment_score && { sentiment_score }),
		...(differs(was.clusters, clusters) && { clusters }),
	};
}

// The same from whoever keeps it, since what is shown tells neither what a rule says below a person's
// word nor where a person agreed with the model; with whose word it was. Null where none has said.
export async function personsLabel(id) {
	const { person } = await ask(urlOf(`conversations/${id}/labels`));
	if (!person) return null;
	const said = Object.entries(person).filter(([name, value]) => name !== "at" && value !== null);
	return Object.fromEntries(said);
}

// `wanted` is `{ sentiment }`, `{ clusters }`, or both; what a person said of the other stays. What
// undoes is all that is to be said, in the name of whoever had said it. True once it is stored.
export async function label(page, id, wanted, undoes = false) {
	const { state, send, loader } = page;
	if (!state.me) return send(["askName", ["label", id, wanted]]);
	const item = itemOf(state, id);
	if (!item) return;
	const reason = state.typed.reason?.trim();
	try {
		const before = await personsLabel(id);
		const { sentiment_score, clusters } = before ?? {};
		const kept = { ...(sentiment_score !== undefined && !wanted.sentiment && { sentiment_score }), ...(clusters && { clusters }) };
		const body = undoes ? wanted : { ...kept, ...wanted, by: state.me, ...(reason && { reason }) };
		const said = await write(`conversations/${id}/labels`, "PUT", body);
		send(["item", said]);
		if (!undoes) send(["type", "reason", ""]);
		const copies = answerTo(state, "list").value?.rows.filter(({ text }) => sameTextKey(text) === sameTextKey(item.text)).length > 1;
		did(page, saidOf(wanted, said), undoes ? {} : {
			undo: before ? ["label", id, before, true] : ["unlabel", id, true],
			...((item.grok_analysis.reused_from || copies) && { more: ["Others have the same text: change them too…", ["draftFrom", id, "same"]] }),
		});
	} catch (problem) {
		failed(page, problem);
		return false;
	} finally {
		count(loader);
	}
	return true;
}

// What is typed into the field stays there until it is stored. Then keys are the post's again, unless
// the reader has gone on meanwhile.
export async function addTopics(page, id, clusters) {
	const { state, send, show } = page;
	if (!state.me) return send(["askName", ["addTopics", id, clusters]]);
	const field = /** @type {HTMLInputElement | null} */ (document.getElementById("topic"));
	const typed = field?.value;
	if (!await label(page, id, { clusters })) return;
	send(["note", "topics", null]);
	show();
	if (field?.value !== typed) return;
	field.value = "";
	if (document.activeElement === field || document.activeElement === document.body) document.getElementById("open")?.focus({ preventScroll: true });
}

// Every figure and list may be another.
function count(loader) {
	loader.nudge();
	loader.renew("summary");
	loader.renew("list");
}

// Of what was wanted, as it came back: topics may have other names than were typed.
export function saidOf({ sentiment, sentiment_score: score, clusters }, { grok_analysis: now }) {
	const mood = (sentiment ?? score) !== undefined && sentimentOf(now.sentiment_score);
	return `${[mood && `${SIGNS[mood]} ${capital(mood)}`, clusters && now.clusters.map(topicName).join(", ")].filter(Boolean).join(": ")}. It counts everywhere from now on.`;
}

// Back to the rule's or the model's word.
export async function unlabel(page, id, undoes = false) {
	const { send, loader } = page;
	try {
		const before = await personsLabel(id);
		await write(`conversations/${id}/labels`, "DELETE");
		const { insight } = await ask(urlOf(`conversations/${id}`));
		send(["item", { conversation_id: id, ...insight }]);
		did(page, "As it was judged.", undoes || !before ? {} : { undo: ["label", id, before, true] });
	} catch (problem) {
		failed(page, problem);
	}
	count(loader);
}

// Opens a post with the cursor where a topic is added.
export function editTopics({ state, send, show }, id) {
	send(["editing", id]);
	if (state.view.open !== id) send(["see", { open: id }]);
	show();
	document.getElementById("topic")?.focus();
}

// --- what is drawn --------------------------------------------------------------------------------

export function toast({ done }) {
	return h("div.toast-place", { key: "toast", role: "status" },
		done && h("p.toast", { id: "toast", class: done.bad ? "bad" : "" }, done.text, " ",
			done.undo && h("button", { id: "undo", on: { click: ["undo"] } }, "Undo ", h("kbd", { "aria-hidden": "true" }, "u")),
			done.more && h("button", { id: "toast-more", on: { click: done.more[1] } }, done.more[0])));
}

export const heard = ({ heard: text }) => h("p.unseen", { key: "heard", id: "heard", role: "status", dir: "auto" }, text);

const tomorrow = (now, days, hour) => {
	const date = new Date(now);
	return new Date(date.getFullYear(), date.getMonth(), date.getDate() + days, hour).toISOString();
};

export function workSheets(state) {
	const dialog = (name, title, ...parts) => h("dialog", { key: name, id: name, "aria-labelledby": `${name}-title`, made: (dialog) => dialog.showModal(), on: { close: ["sheet", null] } },
		h("h2", { id: `${name}-title` }, title), ...parts,
		h("p.buttons", h("button", { on: { click: (event) => event.target.closest("dialog").close() } }, "Cancel")));
	if (state.sheet === "name") {
		const submit = (event) => (event.preventDefault(), event.target.closest("dialog").close(), ["giveName", event.target.elements.me.value.trim()]);
		return dialog("name", "Your name",
			h("form", { on: { submit } },
				h("p", "Others see it beside what you handle. It is kept in this browser."),
				h("label", "Name ", h("input", {
					id: "me", required: true, maxlength: 100, autocomplete: "nickname", value: state.typed.me ?? state.me, on: { input: (event) => ["type", "me", event.target.value] },
				})),
				h("button", "Go on")));
	}
	if (state.sheet !== "snooze" || !state.snoozing) return null;
	const monday = ((8 - new Date(state.now).getDay()) % 7) || 7;
	/** @type {[string, object][]} */
	const times = [
		["1 hour", { minutes: 60 }], ["4 hours", { minutes: 240 }],
		["Tomorrow at 9", { until: tomorrow(state.now, 1, 9) }], ["Monday at 9", { until: tomorrow(state.now, monday, 9) }],
	];
	return dialog("snooze", "Snooze for",
		h("p.buttons", times.map(([name, time]) => h("button", { key: name, on: { click: (event) => (event.target.closest("dialog").close(), ["handle", state.snoozing, { state: "snoozed", ...time }]) } }, name))),
		h("p.small", "A new post of the same author brings it back."));
}
