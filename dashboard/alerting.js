// What readers do about alerts: see them, quieten them, say what they want to be told of and where.

import { ask, urlOf, wait } from "./api.js";
import { KINDS, PLACES, sentKey } from "./alerts.js";
import { doing, noted, write } from "./work.js";

const TRIES = 20;
const TRY_AGAIN = 500;
const TOLD = 20; // messages to an endpoint, the newest

export function acknowledge(page, id) {
	const { state, send } = page;
	if (!state.me) return send(["askName", ["acknowledge", id]]);
	return doing(page, () => write(`alerts/${id}/acknowledge`, "POST", { by: state.me }), "alerts");
}

export const mute = (page, id, hours) => doing(page, () => write(`alerts/${id}/mute`, "POST", { hours }), "alerts");

const SECTIONS = { alertRule: "alert-rules", endpoint: "endpoints" };

// What had the focus is gone: on to the title of its section.
const toTitle = (form) => document.getElementById(`${SECTIONS[form]}-title`)?.focus();

export function leaveForm({ send }, form) {
	send(["form", form, null]);
	send(["note", form, null]);
	toTitle(form);
}

async function making(page, form, path, body, then) {
	try {
		const made = await write(path, "POST", body);
		leaveForm(page, form);
		then(made);
	} catch (problem) {
		noted(page, form, problem);
	}
	page.loader.renew(form === "alertRule" ? "alertRules" : "endpoints");
}

export function makeAlertRule(page) {
	const { kind, above, window, q, name, to } = page.state.forms.alertRule;
	const { unit } = KINDS[kind];
	const body = {
		name: name.trim() || KINDS[kind].name, kind, to,
		...(unit && { above: unit.startsWith("%") ? Number(above) / 100 : Number(above) }),
		...(!["machine", "single"].includes(kind) && { window }),
		...(kind === "share" && { at_least: 20 }),
		...(q?.trim() && kind !== "machine" && { filter: { q: q.trim() } }),
	};
	return making(page, "alertRule", "alert-rules", body, ({ rule_id }) => kind !== "machine" && tryAlertRule(page, rule_id));
}

export const changeAlertRule = (page, id, patch) => doing(page, () => write(`alert-rules/${id}`, "PATCH", patch), "alertRules");
export const removeAlertRule = (page, id) => doing(page, () => write(`alert-rules/${id}`, "DELETE").then(() => toTitle("alertRule")), "alertRules", "alerts");

export async function tryAlertRule({ send }, id) {
	send(["told", id, { text: "Looking at the last 30 days…" }]);
	try {
		send(["told", id, await write(`alert-rules/${id}/try`, "POST")]);
	} catch (problem) {
		send(["told", id, { text: problem.message }]);
	}
}

export function makeEndpoint(page) {
	const { kind, name, target } = page.state.forms.endpoint;
	const body = { name: name.trim() || PLACES[kind][0], kind, [kind === "email" ? "to" : "url"]: target.trim() };
	return making(page, "endpoint", "endpoints", body, ({ secret }) => secret && page.send(["told", "secret", secret]));
}

export const enableEndpoint = (page, id) => doing(page, () => write(`endpoints/${id}/enable`, "POST"), "endpoints");
export const removeEndpoint = (page, id) => doing(page, () => write(`endpoints/${id}`, "DELETE").then(() => toTitle("endpoint")), "endpoints");
export const rotateSecret = (page, id) => doing(page, async () => page.send(["told", "secret", (await write(`endpoints/${id}/rotate`, "POST")).secret]));

// --- what was sent --------------------------------------------------------------------------------

const newest = async (id) => (await ask(urlOf(`endpoints/${id}/deliveries`, { limit: TOLD }))).deliveries;

// What was sent there last, and what came of it.
export async function sentTo({ send }, id) {
	try {
		send(["told", sentKey(id), { deliveries: await newest(id) }]);
	} catch (problem) {
		send(["told", id, { text: problem.message, bad: true }]);
	}
}

export const testEndpoint = (page, id) => sending(page, id, async () => (await write(`endpoints/${id}/test`, "POST")).delivery_id);

export const resend = (page, id, delivery) =>
	sending(page, id, async () => (await write(`endpoints/${id}/deliveries/${delivery}/retry`, "POST"), delivery));

// Has one message sent, and waits for what comes of it.
async function sending({ send, loader, show }, id, begin) {
	send(["told", id, { text: "Sending…" }]);
	try {
		const delivery = await begin();
		for (let tries = 0; tries < TRIES; tries++) {
			await wait(TRY_AGAIN);
			const deliveries = await newest(id);
			const one = deliveries.find((each) => each.delivery_id === delivery);
			const isTriedAgain = one?.state === "pending" && one.attempts > 0;
			if (!one || (one.state === "pending" && !isTriedAgain)) continue;
			const told = `It did not arrive: ${one.last_error ?? "no answer"}${isTriedAgain ? "; it is tried again by itself" : ""}`;
			send(["told", id, one.state === "delivered" ? { text: "It has arrived." } : { text: told, bad: true }]);
			const shown = document.getElementById(sentKey(id));
			if (shown?.getAttribute("aria-expanded") === "true") send(["told", sentKey(id), { deliveries }]);
			loader.renew("endpoints");
			show();
			// The button that was pressed may be gone.
			if (document.activeElement === document.body) shown?.focus();
			return;
		}
		send(["told", id, { text: "There is no answer yet." }]);
	} catch (problem) {
		send(["told", id, { text: problem.message, bad: true }]);
	}
}
