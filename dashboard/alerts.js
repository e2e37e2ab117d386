// Alerts: what is wrong now, what people want to be told of, and where they are told.

import { NO_FILTER, readView } from "./address.js";
import { capital, count, duration, percent, plural, tenths, time, topicName } from "./format.js";
import { note, viewLink } from "./parts.js";
import { answerTo } from "./questions.js";
import { h } from "./render.js";
import { deletion, whichText } from "./rules.js";
import { mayWrite } from "./work.js";

export const alertSections = (state) => [openAlerts(state), alertRules(state), endpoints(state)];

// --- what is wrong now ----------------------------------------------------------------------------

// What an alert says, whoever is told.
export function alertText({ kind, key, peak, evidence }) {
	const { count: number, expected, share, sentence } = evidence;
	if (sentence) return sentence;
	const topic = key && kind === "rising" ? `${capital(topicName(key))}: ` : "";
	if (kind === "share") return `${percent(share ?? peak)} of ${plural(number, "post")} are negative`;
	if (kind === "single") return number > 1 ? `${plural(number, "post")} that cannot wait` : "A post that cannot wait";
	return `${topic}${plural(number ?? Math.round(peak), "post")}${expected === undefined || expected === null ? "" : `, usually ${expected < 0.5 ? "none" : tenths(expected)}`}`;
}

const SAMPLE = 200; // the newest posts, which are looked at one by one

export const crowdText = ({ count: number, authors, copies }) =>
	`${number > SAMPLE ? `Of the newest ${SAMPLE}: ` : ""}${plural(authors, "author")}, ${percent(copies ?? 0)} copies`;

function openAlerts(state) {
	const { value, problem } = answerTo(state, "alerts");
	const all = value?.alerts ?? [];
	const open = all.filter((alert) => alert.state === "open");
	const closed = all.filter((alert) => alert.state !== "open");
	return h("section", { key: "alerts", "aria-busy": !value && !problem ? "true" : null },
		h("h2", { id: "alerts-title", tabindex: -1 }, `Alerts${value ? `: ${count(value.metadata.open_count)} open` : ""}`),
		value && !open.length && h("p.small", { id: "no-alerts" }, "Nothing is wrong that anybody wants to be told of."),
		h("ul", { id: "alerts" }, open.map((alert) => oneAlert(state, alert))),
		closed.length > 0 && h("details", { key: "closed" }, h("summary", `Over: ${count(closed.length)}`),
			h("ul.short", closed.map((alert) => h("li", { key: alert.alert_id }, h("span", { dir: "auto" }, alertText(alert)),
				h("span.small", `${alert.rule}, ${time(alert.opened_at, state.now)} to ${time(alert.closed_at, state.now)}${alert.held_back ? `; nobody was told: ${alert.held_back}` : ""}`))))));
}

function oneAlert(state, alert) {
	const { alert_id: id, evidence, acknowledged_by: seenBy, muted_until: muted } = alert;
	const still = muted && Date.parse(muted) > state.now;
	const words = (evidence.words ?? []).join(", ");
	return h("li.rule", { key: id, "data-key": id },
		h("b", { dir: "auto" }, "▲ ", alertText(alert)), h("span.small", ` ${alert.rule}, since ${time(alert.opened_at, state.now)}`),
		words && h("p.small", "In their words: ", h("bdi", words)),
		evidence.authors > 0 && h("p.small", crowdText(evidence),
			evidence.suspected > 0 && `; ${plural(evidence.suspected, "post")} that may be meant to mislead did not count`),
		alert.held_back && h("p.small", `Nobody is told: ${alert.held_back}`),
		alert.quiet_until && h("p.small", `Told when quiet hours end, at ${time(alert.quiet_until, state.now)}, if it is still open.`),
		h("p.buttons",
			evidence.link && viewLink(state, "a.button", { ...NO_FILTER, ...readView(evidence.link.slice(evidence.link.indexOf("?"))), plan: "" }, "Show these posts"),
			seenBy ? h("span.small", `${seenBy} has seen it`) : mayWrite(state) && h("button", { on: { click: ["acknowledge", id] } }, "I have seen it"),
			mayWrite(state) && (still
				? [h("span.small", { key: "quiet" }, `quiet until ${time(muted, state.now)}`), h("button", { key: "tell", on: { click: ["mute", id, 0] } }, "Tell again")]
				: h("button", { on: { click: ["mute", id, 4] } }, "Quiet for 4 hours"))));
}

// --- what people want to be told of ---------------------------------------------------------------

// Each kind: what it is for, and the number that it needs, as people write it.
export const KINDS = {
	rising: { name: "A topic rises", unit: "", above: "", small: "any topic that stands out against what is usual, by more than chance, in at least twenty posts" },
	share: { name: "Many are unhappy", unit: "% negative", above: "60", small: "at least this share of at least twenty posts" },
	count: { name: "There are many posts", unit: "posts", above: "100", small: "this many posts that fit" },
	single: { name: "One cannot wait", unit: "% certain of very negative", above: "80", small: "one post that is very negative and urgent" },
	machine: { name: "The service itself", unit: "", above: "", small: "analysis stands still, the budget is spent, a disk is nearly full, a backup is too old, an endpoint does not answer" },
};
const WINDOWS = { "15m": "15 minutes", "1h": "an hour", "6h": "6 hours", "24h": "a day" };

const isShare = (kind) => kind === "share" || kind === "single";

// When somebody is told, in words.
function whenText({ kind, above, window, filter }) {
	if (kind === "machine") return `${KINDS.machine.name}.`;
	const number = above === null ? "" : isShare(kind) ? `, ${percent(above)} or more` : kind === "count" ? `: ${plural(above, "post")} or more` : `, by a score of ${tenths(above)}`;
	const name = kind === "count" ? "Many posts" : KINDS[kind].name;
	return `${name}${number}${kind === "single" ? "" : ` within ${WINDOWS[window]}`}. ${whichText(filter)}.`;
}

function alertRules(state) {
	const { value } = answerTo(state, "alertRules");
	const all = value?.rules ?? [];
	const form = state.forms.alertRule;
	return h("section", { key: "alert-rules" },
		h("div.head", h("h2", { id: "alert-rules-title", tabindex: -1 }, `Tell me when${value ? `: ${count(all.length)}` : ""}`),
			mayWrite(state) && !form && h("button", { id: "new-alert-rule", on: { click: ["form", "alertRule", { kind: "rising", above: "", window: "1h", name: "", to: [] }] } }, "Add")),
		h("p.small", "Judged every minute. Who is told, and how, is below."),
		form ? ruleForm(state, form) : note(state, "alertRule"),
		value && !all.length && !form && h("p.small", { id: "no-alert-rules" }, "Nothing yet: nobody is told of anything."),
		h("ul", { id: "alert-rules" }, all.map((rule) => oneRule(state, rule))));
}

function ruleForm(state, form) {
	const kind = KINDS[form.kind];
	const change = (name) => ({ target }) => ["form", "alertRule", { [name]: target.value }];
	const places = answerTo(state, "endpoints").value?.endpoints ?? [];
	const submit = (event) => (event.preventDefault(), ["makeAlertRule"]);
	return h("form", { key: "form", id: "alert-rule", on: { submit } },
		h("p.buttons",
			h("label", "When ", h("select", { id: "alert-kind", made: (select) => select.focus(), value: form.kind, on: { change: ({ target }) => ["form", "alertRule", { kind: target.value, above: KINDS[target.value].above }] } },
				Object.entries(KINDS).map(([key, { name }]) => h("option", { key, value: key }, name)))),
			kind.unit && h("label", { key: "above" }, h("span.unseen", "Number "), h("input", { id: "alert-above", type: "number", min: 1, max: isShare(form.kind) ? 100 : 1e9, required: true, value: form.above, on: { input: change("above") } }), ` ${kind.unit}`),
			!["machine", "single"].includes(form.kind) && h("label", { key: "window" }, "within ", h("select", { id: "alert-window", value: form.window, on: { change: change("window") } },
				Object.entries(WINDOWS).map(([key, name]) => h("option", { key, value: key }, name)))),
			form.kind !== "machine" && h("label", { key: "q" }, "with the words ", h("input", { id: "alert-q", value: form.q ?? "", dir: "auto", on: { input: change("q") } }))),
		h("p.small", capital(kind.small), "."),
		places.length > 0 && h("fieldset", h("legend", "Tell"), places.map(({ endpoint_id: id, name }) => h("label.check", { key: id },
			h("input", { type: "checkbox", checked: form.to.includes(id), on: { change: ({ target }) => ["form", "alertRule", { to: target.checked ? [...form.to, id] : form.to.filter((one) => one !== id) }] } }), " ", h("bdi", name))),
		h("span.small", form.to.length ? "" : "With none chosen: all of them.")),
		h("p.buttons",
			h("label", "Name ", h("input", { id: "alert-name", maxlength: 100, dir: "auto", value: form.name, placeholder: kind.name, on: { input: change("name") } })),
			h("button", { id: "make-alert-rule" }, "Tell me"),
			h("button", { type: "button", on: { click: ["leaveForm", "alertRule"] } }, "Cancel")),
		note(state, "alertRule"));
}

function oneRule(state, rule) {
	const { rule_id: id, name, kind, enabled, quiet } = rule;
	const trial = state.told[id];
	return h("li.rule", { key: id, "data-key": id },
		h("b", { dir: "auto" }, name), " ",
		h("span", { dir: "auto" }, whenText(rule)),
		quiet && h("span.small", ` Quiet from ${quiet.from} to ${quiet.to}, ${quiet.zone}.`),
		mayWrite(state) && h("p.buttons",
			h("button", { "aria-pressed": String(enabled), on: { click: ["changeAlertRule", id, { enabled: !enabled }] } }, enabled ? "On" : "Off"),
			kind !== "machine" && h("button", { on: { click: ["tryAlertRule", id] } }, "What would it have sent?"),
			h("button", { on: { click: () => ["changeAlertRule", id, { quiet: quiet ? null : nightHere() }] } }, quiet ? "Tell at any hour" : "Quiet at night"),
			deletion(state, id, name, ["removeAlertRule", id])),
		trial && h("p.note", { role: "status" }, trial.text ?? trialText(trial)));
}

const nightHere = () => ({ from: "22:00", to: "07:00", zone: Intl.DateTimeFormat().resolvedOptions().timeZone });

const trialText = ({ messages, alerts_count: alerts, held_back_count: held, warnings = [] }) =>
	`${warnings.map((warning) => `${warning} `).join("")}Over the last 30 days: ${plural(messages, "message")} of ${plural(alerts, "alert")}${held ? `; ${count(held)} shown but not sent, since few people or copies made them` : ""}.`;

// --- where they are told --------------------------------------------------------------------------

export const PLACES = {
	slack: ["Slack", "Address of the webhook", "https://hooks.slack.com/services/…"],
	teams: ["Microsoft Teams", "Address of the workflow", "https://….logic.azure.com/…"],
	discord: ["Discord", "Address of the webhook", "https://discord.com/api/webhooks/…"],
	email: ["E-mail", "Mailbox", "team@example.com"],
	standard: ["Your own system", "Address", "https://example.com/hooks/insights"],
};

function endpoints(state) {
	const { value, problem } = answerTo(state, "endpoints");
	const all = value?.endpoints ?? [];
	const form = state.forms.endpoint;
	return h("section", { key: "endpoints" },
		h("div.head", h("h2", { id: "endpoints-title", tabindex: -1 }, "Where people are told"),
			value && !form && h("button", { id: "new-endpoint", on: { click: ["form", "endpoint", { kind: "slack", name: "", target: "" }] } }, "Add")),
		problem && h("p.small", problem.status === 403 ? "A key with scope admin sees and changes these." : problem.text),
		form ? endpointForm(state, form) : note(state, "endpoint"),
		value && !all.length && !form && h("p.small", "Nowhere yet: alerts are shown here only."),
		state.told.secret && h("p.notice", { key: "secret", role: "status" }, "The secret that signs what is sent, shown this once: ", h("code", state.told.secret), " ",
			h("button.link", { on: { click: ["told", "secret", null] } }, "I have it")),
		h("ul", { id: "endpoints" }, all.map((endpoint) => oneEndpoint(state, endpoint))));
}

function endpointForm(state, form) {
	const [name, label, example] = PLACES[form.kind];
	const change = (field) => ({ target }) => ["form", "endpoint", { [field]: target.value }];
	const submit = (event) => (event.preventDefault(), ["makeEndpoint"]);
	return h("form", { key: "form", id: "endpoint", on: { submit } },
		h("p.buttons",
			h("label", "By ", h("select", { id: "endpoint-kind", value: form.kind, on: { change: change("kind") } },
				Object.entries(PLACES).map(([key, [text]]) => h("option", { key, value: key }, text)))),
			h("label", `${label} `, h("input", { id: "endpoint-target", made: (input) => input.focus(), type: form.kind === "email" ? "email" : "url", required: true, size: 40, placeholder: example, value: form.target, on: { input: change("target") } })),
			h("label", "Name ", h("input", { id: "endpoint-name", maxlength: 100, dir: "auto", placeholder: name, value: form.name, on: { input: change("name") } })),
			h("button", { id: "make-endpoint" }, "Add"),
			h("button", { type: "button", on: { click: ["leaveForm", "endpoint"] } }, "Cancel")),
		note(state, "endpoint"));
}

// By which what was sent to an endpoint is known.
export const sentKey = (id) => `sent to ${id}`;

function oneEndpoint(state, endpoint) {
	const { endpoint_id: id, name, kind, url, to, enabled, disabled_reason: why, failing_since: since } = endpoint;
	const told = state.told[id];
	const sent = state.told[sentKey(id)]?.deliveries;
	return h("li.rule", { key: id, "data-key": id },
		h("b", { dir: "auto" }, name), h("span.small", ` ${PLACES[kind][0]}, `, h("bdi", to ?? hostOf(url))),
		!enabled && h("p.notice.bad", `Nothing is sent there${why ? `: ${why}` : "."}`),
		enabled && since && h("p.small", `Nothing has arrived for ${duration((state.now - Date.parse(since)) / 1000)}.`),
		h("p.buttons",
			enabled ? h("button", { on: { click: ["testEndpoint", id] } }, "Send a test") : h("button", { on: { click: ["enableEndpoint", id] } }, "Send there again"),
			kind === "standard" && h("button", { on: { click: ["rotateSecret", id] } }, "New secret"),
			h("button", { id: sentKey(id), "aria-expanded": String(Boolean(sent)), on: { click: sent ? ["told", sentKey(id), null] : ["sentTo", id] } }, "What was sent"),
			deletion(state, id, name, ["removeEndpoint", id])),
		told && h("p.note", { class: told.bad ? "bad" : "", role: "status" }, told.text),
		sent && !sent.length && h("p.small", "Nothing yet."),
		sent?.length > 0 && h("ul.short", { key: "sent" }, sent.map((delivery) => oneDelivery(state, id, delivery))));
}

const MESSAGES = { "alert.opened": "An alert", "alert.closed": "The end of an alert", report: "A report", machine: "The service itself", test: "A test" };

function oneDelivery(state, endpoint, { delivery_id: id, type, state: stands, created_at: made, next_at: next, attempts, last_error: error }) {
	const came = {
		delivered: "it has arrived",
		pending: attempts ? `not yet: tried ${plural(attempts, "time")}, again at ${time(next, state.now)}` : "on its way",
		failed: `it did not arrive, after ${plural(attempts, "try", "tries")}`,
		dropped: error?.startsWith("not sent") ? "left out" : "left out, since a later message tells what it told",
	}[stands];
	return h("li", { key: id, "data-key": id }, `${MESSAGES[type] ?? type}, ${time(made, state.now)}: ${came}`,
		error && stands !== "delivered" && h("span.small", { dir: "auto" }, error),
		stands === "failed" && h("button", { on: { click: ["resend", endpoint, id] } }, "Send again"));
}

// The rest of such an address is a secret.
const hostOf = (url) => (URL.canParse(url) ? new URL(url).host : url);
