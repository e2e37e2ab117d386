// Many posts changed at once, and rules for those to come. A draft says which posts and what they
// become: `{ filter, sentiment, topics, op, name, kind }`, see `rules.js`, which draws it.

import { sentimentOf } from "./format.js";
import { answerTo } from "./questions.js";
import { asTopics, labelOf, itemOf, did, doing, noted, personsLabel, write } from "./work.js";

const MOST_WORDS = 20;
const MOST_TOPICS = 5;

// Texts that are the same but for handles and addresses have this phrase in common.
export function phraseOf(text) {
	const parts = text.split(/https?:\/\/\S+|@\w+/u).map((part) => part.match(/[\p{L}\p{N}\p{M}]+/gu) ?? []);
	const longest = parts.reduce((best, words) => (words.length > best.length ? words : best), []);
	return `"${longest.slice(0, MOST_WORDS).join(" ")}"`;
}

// Why the topics of a draft cannot be taken as they are typed; "" where they can.
export function topicsFault({ op, topics, kind }) {
	const found = kind === "label" ? asTopics(topics ?? "").length : 0;
	const fits = { add: found <= 1, remove: found <= 1, replace: !found || found === 2, exactly: found <= MOST_TOPICS }[op];
	return fits || !found ? "" : { replace: "two topics: the one that is there, and the one in its place", exactly: `${MOST_TOPICS} topics at most` }[op] ?? "one topic";
}

// What a draft sets, as plans and rules take it.
export function setOf({ sentiment, op, topics, kind }) {
	if (kind === "handling") return { state: "answered" };
	const names = asTopics(topics ?? "");
	const change = { add: { add_cluster: names[0] }, remove: { remove_cluster: names[0] }, replace: { replace_cluster: names.slice(0, 2) }, exactly: { clusters: names } }[op];
	return { ...(sentiment && { sentiment }), ...(names.length > 0 && change) };
}

export const NO_NAME = "A rule needs a name.";

// What a draft does not say yet, in a sentence; "" where nothing is missing. Only a rule has a name.
export function missing(draft) {
	const which = Object.keys(filterOfDraft(draft)).length > 0;
	const what = Object.keys(setOf(draft)).length > 0;
	if (!which) return what ? "Say which posts." : "Say which posts, and what they become.";
	if (!what) return "Say what they become.";
	const forOnce = draft.kind === "handling" || (draft.op === "exactly" && draft.topics?.trim());
	return forOnce || draft.name.trim() ? "" : NO_NAME;
}

export const filterOfDraft = ({ filter }) => Object.fromEntries(Object.entries(filter).filter(([, value]) => value));

// Begins a draft with what was just put right at a post: `why` is "same" for those with the same
// text, "answered" for their being answered.
export async function draftFrom({ state, send }, id, why) {
	const item = itemOf(state, id);
	if (!item) return;
	const { q, cluster, author, language } = state.view;
	// Where a person agreed with the model, only their own word tells what it was.
	const label = (item.labelled?.by === "person" && await personsLabel(id).catch(() => null)) || labelOf(item);
	const filter = why ? { q: phraseOf(item.text) } : { q, cluster, author, language };
	send(["draft", null]);
	send(["draft", {
		kind: why === "answered" ? "handling" : "label", filter, from: item.text, name: "",
		sentiment: label.sentiment_score === undefined ? "" : sentimentOf(label.sentiment_score),
		op: "exactly", topics: label.clusters?.join(", ").replaceAll("_", " ") ?? "",
	}]);
	send(["see", { page: "rules", plan: "", open: "" }]);
}

// Makes a plan and shows it: nothing has changed yet.
async function plan(page, body) {
	const { state, send } = page;
	if (!state.me && body.kind !== "rule") return send(["askName", ["preview", body]]);
	try {
		const { plan_id } = await write("plans", "POST", { by: state.me || undefined, ...body });
		send(["note", "draft", null]);
		send(["see", { plan: plan_id }]);
	} catch (problem) {
		noted(page, "draft", problem);
	}
}

// Of a draft, or of the `body` that the API has given.
export function preview(page, body) {
	const { draft } = page.state;
	if (!body && topicsFault(draft)) return undefined;
	return plan(page, body ?? { kind: draft.kind, filter: { ...filterOfDraft(draft), ...(draft.kind === "handling" && { handling: "open" }) }, set: setOf(draft) });
}

export async function makeRule(page) {
	const { state, send, loader } = page;
	const { draft } = state;
	if (topicsFault(draft)) return;
	try {
		const { rule_id } = await write("rules", "POST", { name: draft.name.trim(), filter: filterOfDraft(draft), set: setOf(draft), enabled: true });
		send(["draft", null]);
		loader.renew("rules");
		did(page, "The rule is on for new posts.");
		await planRule(page, rule_id);
	} catch (problem) {
		noted(page, "draft", problem);
	}
}

export const planRule = (page, rule_id) => plan(page, { kind: "rule", rule_id, filter: {} });

export const changeRule = (page, rule_id, patch) => doing(page, () => write(`rules/${rule_id}`, "PATCH", patch), "rules");

// A rule's labels stay until the plan that it leaves is applied.
export const removeRule = (page, rule_id) => doing(page, async () => {
	const { name } = answerTo(page.state, "rules").value?.rules.find((rule) => rule.rule_id === rule_id) ?? {};
	const { labelled, take_back } = await write(`rules/${rule_id}`, "DELETE");
	page.send(["told", `name of ${rule_id}`, name]); // the service tells of it no more
	did(page, labelled ? "The rule is gone. What it has set stays." : "The rule is gone.", labelled ? { more: ["Take it back…", ["preview", take_back]] } : {});
	document.getElementById("rules-title")?.focus();
}, "rules");

export function closeDraft({ send }) {
	send(["draft", null]);
	document.getElementById("rules-title")?.focus();
}

const onPlan = (page, what) => doing(page, async () => {
	await write(`plans/${page.state.view.plan}/${what}`, "POST");
	document.getElementById("plan-title")?.focus(); // the button that had it goes
}, "plan", "plans");
export const applyPlan = (page) => onPlan(page, "apply");
export const undoPlan = (page) => onPlan(page, "undo");
