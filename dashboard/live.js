// What this tab hears of the stream that all tabs share.

import { ask, currentKey, urlOf, wait } from "./api.js";
import { handlingNow, handlingText } from "./handling.js";
import { answerTo, listPage } from "./questions.js";
import { itemOf } from "./work.js";

const HUB = new URL("hub.js", import.meta.url).href;
// Changes with what hub and tab say to each other: an old hub lives as long as an old tab.
const PROTOCOL = "2";
const RETRY_SECONDS = 5;

// The page's policy lets no text become a script's address, but this one.
const policy = window.trustedTypes?.createPolicy("hub", { createScriptURL: () => HUB });

export class Live {
	onEvents;
	onState;

	// `onState` gets "connecting", "live", "stopped", or "lost" and the seconds to the next try.
	// `resumes` tells whether nothing was left out since this tab was "live" before.
	constructor(onEvents, onState) {
		Object.assign(this, { onEvents, onState });
		if (!window.SharedWorker) {
			this.#runHub();
			return;
		}
		const worker = new SharedWorker(policy?.createScriptURL("") ?? HUB, { type: "module", name: PROTOCOL });
		worker.onerror = () => this.#runHub();
		this.#use(worker.port);
		// A port does not tell that its page is gone.
		window.addEventListener("pagehide", () => this.port?.postMessage(null));
		window.addEventListener("pageshow", ({ persisted }) => persisted && this.running && this.#listen());
	}

	start() {
		if (this.running) return;
		this.running = true;
		this.#listen();
	}

	stop() {
		this.running = false;
		this.port?.postMessage(null);
		this.onState("stopped");
	}

	#listen() {
		this.heardLive = false;
		this.port?.postMessage({ key: currentKey() });
	}

	#use(port) {
		this.port = port;
		port.onmessage = ({ data }) => this.running && this.#hear(data);
		if (this.running) this.#listen();
	}

	// In this tab, where there are no shared workers.
	async #runHub() {
		/** @type {typeof import("./hub.js") | null} */
		let hub;
		while (!(hub = await import("./hub.js").catch(() => null))) await wait(1000 * RETRY_SECONDS);
		const { port1, port2 } = new MessageChannel();
		hub.serve(port1);
		this.#use(port2);
	}

	async #hear({ events, state, seconds, resumes }) {
		if (events) this.onEvents(events);
		else if (state !== "refused") {
			if (state === "live") {
				this.resumes = resumes && this.heardLive;
				this.heardLive = true;
			}
			this.onState(state, seconds);
		} else {
			const refused = currentKey();
			this.onState("connecting");
			await ask(urlOf("stats")).catch(() => {}); // asks the reader for a key
			if (currentKey() === refused) await wait(1000 * RETRY_SECONDS);
			if (this.running) this.#listen();
		}
	}
}

const TOGETHER = 1000; // what comes in is asked for once a second

const MANY = 100; // labels at once: where a plan gives more, the newest are told alone
const FEW = 60; // letters by which a post is known again

// What another does to the post that the reader is on, or holds, is said: it may be all that is heard
// of it. Null where nothing is to be said.
function handsText(state, id, handling) {
	const item = itemOf(state, id);
	const now = Date.now();
	const before = handlingNow(item?.handling, now);
	const here = state.view.open === id || /** @type {HTMLElement | null} */ (document.activeElement)?.dataset.id === id;
	const [was, is] = [before, handling].map((one) => handlingText(one, now, state.me) || "open again");
	if (!item || was === is || !(here || (before.state === "claimed" && before.by === state.me))) return null;
	return `${is}: ${item.text.length > FEW ? `${item.text.slice(0, FEW)}…` : item.text}`;
}

const MOST = 1000; // posts in one answer

const APART = 100; // between posts asked for one by one: others need the service, too

let turn;

// Changes are told once. What was changed while nobody listened is asked for, of all posts in the list:
// at once of those that it has by now, one by one of the others. `page` is a function that gives
// `{ state, send }`. Ends where the list is left, or nobody listens again.
export async function catchUp(page) {
	const own = (turn = {});
	const { value: list, stale, key } = answerTo(page().state, "list");
	if (!list || stale) return;
	const { view } = page().state;
	const goesOn = () => turn === own && page().state.questions.list === key;
	// However often the service has to be asked.
	const get = async (path, parameters) => {
		for (;;) {
			try {
				return await ask(urlOf(path, parameters));
			} catch (problem) {
				if (!goesOn() || (problem.status > 0 && problem.status < 500)) throw problem;
				await wait(1000 * (problem.retryAfter ?? RETRY_SECONDS));
			}
		}
	};
	const rowsNow = () => answerTo(page().state, "list").value?.rows ?? [];
	// But for rows that are not what they were `before` it was asked: what has come in since is newer.
	const show = (items, before) => {
		const then = new Set(before);
		const same = new Set(rowsNow().filter((row) => then.has(row)).map((row) => row.conversation_id));
		page().send(["items", new Map(items.filter(({ conversation_id: id }) => same.has(id)).map((item) => [item.conversation_id, item]))]);
	};
	const left = new Set(list.rows.map((row) => row.conversation_id));
	try {
		for (let cursor = null, rest = list.rows.length; rest > 0 && goesOn();) {
			const before = rowsNow();
			const found = await listPage(get, view, list.period, cursor, Math.min(MOST, rest));
			show(found.rows.filter((row) => left.delete(row.conversation_id)), before);
			({ cursor } = found);
			rest = cursor === null ? 0 : rest - found.rows.length;
		}
	} catch {
		return; // the list itself says why
	}
	for (const id of left) {
		if (!goesOn()) return;
		const before = rowsNow();
		const found = await get(`conversations/${id}`).catch(() => null); // erased
		if (found?.insight) show([{ conversation_id: id, ...found.insight }], before);
		await wait(APART);
	}
}

// `page` is a function that gives the state.
export function hear(send, loader, page) {
	let news;
	let labels = 0;
	let behind;
	let wasLive = false;
	const catchUpNow = () => void catchUp(() => ({ state: page(), send }));
	const onEvents = (events) => {
		for (const [name, data] of events) {
			if (name === "label") {
				labels++;
				send(["item", data]);
			}
			if (name === "handling") {
				const { conversation_id: id, ...handling } = data;
				const text = handsText(page(), id, handling);
				send(["handled", id, handling]);
				if (text) send(["heard", text]);
			}
		}
		news ??= setTimeout(() => {
			news = undefined;
			loader.nudge();
			if (labels >= MANY) {
				clearTimeout(behind);
				behind = setTimeout(catchUpNow, 3 * TOGETHER); // once it is over
			}
			labels = 0;
		}, TOGETHER);
	};
	const live = new Live(onEvents, (name, seconds) => {
		send(["live", { state: name, until: Date.now() + 1000 * (seconds ?? 0) }]);
		turn = undefined;
		clearTimeout(behind);
		if (name !== "live") return;
		loader.nudge();
		if (wasLive) catchUpNow();
		wasLive = true;
	});
	return Object.assign(live, { catchUp: catchUpNow });
}
