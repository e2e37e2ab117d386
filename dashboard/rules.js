// Rules, and changes of many posts: a draft of one, its plan with what it would do, what rules there
// are.

import { NO_NAME, missing, topicsFault } from "./drafts.js";
import { SIGNS, capital, count, duration, fullTime, plural, sentimentOf, time, topicName } from "./format.js";
import { note, problems, viewLink } from "./parts.js";
import { answerTo } from "./questions.js";
import { h } from "./render.js";
import { mayWrite } from "./work.js";

const MANY = "Change many posts, or make a rule";

export function rules(state) {
	const { value, problem } = answerTo(state, "rules");
	const all = value?.rules ?? [];
	return h("main.analysis", { id: "page", key: "rules", "aria-busy": !value && !problem ? "true" : null },
		problems(state), note(state, "list"),
		state.draft ? draft(state) : note(state, "draft"),
		state.view.plan && plan(state),
		state.loaded.alerts?.alertSections(state),
		h("section", { key: "rules" },
			h("div.head", h("h2", { id: "rules-title", tabindex: -1 }, `Rules${value ? `: ${count(all.length)}` : ""}`),
				mayWrite(state) && !state.draft && h("button", { id: "new-rule", on: { click: ["draft", { kind: "label", filter: {}, name: "", sentiment: "", op: "add", topics: "" }] } }, MANY)),
			h("p.small", "A rule has the last word on each new post that it fits, unless a person has. Of several the newest counts."),
			value && !all.length && h("p.small", { id: "no-rules" }, "There are none yet. Put a post right on the desk, then “Change all like this”."),
			h("ul", { id: "rules" }, all.map((rule) => oneRule(state, rule)))),
		earlier(state));
}

// Plans of before: what they did can be looked at, and undone.
function earlier(state) {
	const { value } = answerTo(state, "plans");
	const done = (value?.plans ?? []).filter(({ state: now, plan_id }) => now !== "ready" && plan_id !== state.view.plan);
	return done.length > 0 && h("section", { key: "plans" },
		h("h2", "What was changed"),
		h("ul.short", { id: "plans" }, done.map((plan) => h("li", { key: plan.plan_id },
			viewLink(state, "a", { plan: plan.plan_id }, planText(state, plan)),
			h("span.small", [STATES[plan.state], plural(plan.changed, "post"), plan.by && `by ${plan.by}`, time(plan.applied_at ?? plan.created_at, state.now)].filter(Boolean).join(", "))))));
}

// Of one that is deleted only the id is known, but to the page that did it.
function ruleName(state, id) {
	const rule = answerTo(state, "rules").value?.rules.find((rule) => rule.rule_id === id);
	const name = rule?.name ?? state.told[`name of ${id}`];
	return name ? `the rule “${name}”` : `the deleted rule ${id}`;
}

export function planText(state, { kind, filter, set, rule_id: rule }) {
	const which = whichText(filter);
	if (kind === "unlabel") {
		const word = `the word of ${rule ? ruleName(state, rule) : "people"}`;
		return `${rule && which === "All posts" ? capital(word) : `${which}, ${word}`}: taken back`;
	}
	return `${which}: ${kind === "retry" ? "tried again" : setText(set)}`;
}

function oneRule(state, rule) {
	const { rule_id: id, name, filter, set, enabled } = rule;
	return h("li.rule", { key: id, "data-key": id },
		h("b", { dir: "auto" }, name), " ", h("span", { dir: "auto" }, `${whichText(filter)}: ${setText(set)}. It has the last word on ${plural(rule.labelled, "post")}.`),
		mayWrite(state) && h("p.buttons",
			h("button", { "aria-pressed": String(enabled), on: { click: ["changeRule", id, { enabled: !enabled }] } }, enabled ? "On" : "Off"),
			h("button", { on: { click: ["planRule", id] } }, "Use on older posts…"),
			deletion(state, id, `the rule ${name}`, ["removeRule", id])));
}

// What nothing brings back is asked about: the second click does it.
export function deletion(state, id, what, event) {
	const sure = state.forms.deletion?.id === id;
	return h("button", { key: "delete", class: sure ? "bad" : "", "aria-label": `${sure ? "Really delete" : "Delete"} ${what}`, on: { click: sure ? event : ["form", "deletion", { id }], ...(sure && { blur: ["form", "deletion", null] }) } }, sure ? "Really delete?" : "Delete");
}

// --- in words -------------------------------------------------------------------------------------

const NAMES = { cluster: "about", author: "by", language: "in", sentiment: "that are", urgency: "urgency", handling: "that are", labelled: "judged by a" };
export function whichText(filter) {
	const { q, min_confidence: sure, start_time: from, end_time: to, ...others } = filter;
	const parts = Object.entries(others).map(([name, value]) => `${NAMES[name] ?? name} ${name === "cluster" ? topicName(value) : value}`);
	if (q) parts.unshift(`with ${q.includes('"') ? q : `“${q}”`}`);
	if (sure) parts.push(`at least ${Math.round(100 * sure)}% certain`);
	if (from || to) parts.push(`from ${from ?? "the first"} to ${to ?? "the last"}`);
	return parts.length ? `Posts ${parts.join(" ")}` : "All posts";
}

export function setText(set) {
	const { sentiment, sentiment_score: score, clusters, add_cluster: more, remove_cluster: less, replace_cluster: other, state } = set ?? {};
	const mood = sentiment ?? (score === undefined || score === null ? null : sentimentOf(score));
	return [
		mood && `${SIGNS[mood]} ${mood}`, clusters && `about ${clusters.map(topicName).join(", ")}`, more && `also about ${topicName(more)}`,
		less && `not about ${topicName(less)}`, other && `about ${topicName(other[1])} instead of ${topicName(other[0])}`, state && `${state}`,
	].filter(Boolean).join(", ") || "nothing";
}

// --- a draft --------------------------------------------------------------------------------------

function draft(state) {
	const { draft } = state;
	const { filter, kind } = draft;
	const change = (name) => ({ target }) => ["draft", { [name]: target.value }];
	const narrow = (name) => ({ target }) => ["draft", { filter: { ...filter, [name]: target.value } }];
	const input = (name, label, value, on, more = {}) => h("label", { key: name }, label, " ", h("input", { id: `draft-${name}`, value: value ?? "", on: { input: on }, ...more }));
	const select = (name, label, value, options, on) => h("label", { key: name }, label, " ", h("select", { id: `draft-${name}`, value: value ?? "", on: { change: on } },
		options.map(([key, text]) => h("option", { key, value: key }, text))));
	const moods = [["negative", "▼ Negative"], ["neutral", "● Neutral"], ["positive", "▲ Positive"]];
	const fault = topicsFault(draft);
	const lacks = missing(draft);
	const whole = !fault && (!lacks || lacks === NO_NAME);
	const topics = draft.topics?.trim();
	const once = whole && (kind === "handling" || !topics || draft.op === "exactly");
	const always = whole && !(topics && draft.op === "exactly");
	return h("section", { key: "draft", id: "draft", "aria-labelledby": "draft-title" },
		h("div.head", h("h2", { id: "draft-title", tabindex: -1, made: (title) => title.focus() }, kind === "handling" ? "All of these are answered" : draft.from ? "Change all like this" : MANY),
			h("button.close", { "aria-label": "Close the draft", on: { click: ["closeDraft"] } }, "×")),
		draft.from && h("p.small.text", { dir: "auto" }, draft.from),
		h("form", { on: { submit: (event) => (event.preventDefault(), once && ["preview"]) } },
			h("fieldset", h("legend", "Which posts"),
				input("q", "with the words", filter.q, narrow("q"), { dir: "auto", placeholder: '"War Zone" as a phrase' }),
				input("cluster", "about", filter.cluster && topicName(filter.cluster), ({ target }) => ["draft", { filter: { ...filter, cluster: target.value.trim().toLowerCase().replace(/\s+/g, "_") } }]),
				select("sentiment-is", "that are", filter.sentiment, [["", "of any mood"], ...moods], narrow("sentiment")),
				input("author", "by", filter.author, narrow("author"), { dir: "auto" }),
				input("language", "in the language", filter.language, narrow("language"), { size: 3, maxlength: 3, placeholder: "en" })),
			kind === "label" && h("fieldset", h("legend", "What they become"),
				select("sentiment", "mood", draft.sentiment, [["", "as it is"], ...moods], change("sentiment")),
				select("op", "topics", draft.op, [["add", "add"], ["remove", "take away"], ["replace", "replace (old, new)"], ["exactly", "exactly these"]], change("op")),
				input("topics", "named", draft.topics, change("topics"), { placeholder: "billing problems", "aria-invalid": fault ? "true" : null, "aria-describedby": "topics-fault" }),
				h("span.error", { id: "topics-fault", role: "status" }, fault)),
			h("p.buttons",
				h("button", { id: "preview", disabled: !once, "aria-describedby": "draft-hint" }, "Preview: what would change"),
				kind === "label" && [
					input("name", "Rule's name", draft.name, change("name"), { maxlength: 100, dir: "auto" }),
					h("button", { id: "make-rule", type: "button", disabled: !always || lacks !== "", "aria-describedby": "draft-hint", on: { click: ["makeRule"] } }, "Make it a rule")]),
			h("p.small", { id: "draft-hint", role: "status" }, fault ? "" : lacks),
			kind === "label" && topics && h("p.small", draft.op === "exactly" ? "“Exactly these” is for once: a rule adds, takes away or replaces a topic." : "To add, take away or replace a topic is for rules; a rule can be used on older posts too.")),
		note(state, "draft"));
}

// --- a plan ---------------------------------------------------------------------------------------

const STATES = {
	ready: "nothing has changed yet", applying: "it is being applied", applied: "it is applied", undoing: "it is being undone", undone: "it is undone",
	failed: "it could not be finished",
};

// What became of the posts that matched, and of others that would have.
export function outcomes({ kind, state, matched, changed, skipped, later, left_alone: alone }) {
	const stayed = ["applied", "undone"].includes(state) ? matched - changed - skipped : 0;
	const many = (number, one, more = one) => number > 0 && `${plural(number, "post")} ${number === 1 ? one : more}`;
	return [
		state === "undone" ? many(changed, "had been changed") : many(changed, "was changed", "were changed"),
		many(stayed, "stayed as it was", "stayed as they were"), many(skipped, kind === "handling" ? "no longer fitted or had been claimed" : "no longer fitted"),
		many(later, "came later and is not touched", "came later and are not touched"),
		many(alone, "changed since and was left alone", "changed since and were left alone"),
	].filter(Boolean);
}

// What is to be changed is of all times unless its filter says otherwise, whatever time the desk shows.
export function matchText({ state, matched, filter }) {
	if (state !== "ready") return " matched.";
	return `${filter.start_time || filter.end_time ? "" : " of all times"} ${matched === 1 ? "matches" : "match"}.`;
}

function plan(state) {
	const { value: plan, problem } = answerTo(state, "plan");
	const close = viewLink(state, "a.close", { plan: "" }, { "aria-label": "Close the plan" }, "×");
	if (!plan) return h("section", { key: "plan", id: "plan", "aria-busy": problem ? null : "true" }, close, h("p", problem ? problem.text : "Loading…"));
	const { matched, done = 0, total = matched, state: now, eta_seconds: eta } = plan;
	const moving = now === "applying" || now === "undoing";
	return h("section", { key: "plan", id: "plan", "aria-labelledby": "plan-title" },
		h("div.head", h("h2", { id: "plan-title", tabindex: -1, made: (title) => title.focus() }, planText(state, plan)), close),
		h("p", { id: "plan-state", role: "status" }, h("b", plural(matched, "post")), matchText(plan), ` ${capital(STATES[now])}.`,
			!moving && outcomes(plan).map((text) => ` ${text}.`),
			plan.error && ` ${plan.error}`),
		(plan.warnings ?? []).map((warning) => h("p.notice", { key: warning }, warning)),
		moving && h("p", h("progress", { id: "progress", max: Math.max(1, total), value: done, "aria-label": "Done" }), ` ${count(done)} of ${count(total)}${eta ? `, about ${duration(eta)} to go` : ""}`),
		mayWrite(state) && h("p.buttons",
			now === "ready" && matched > 0 && h("button", { id: "apply", on: { click: ["applyPlan"] } }, `Apply it to ${plural(matched, "post")}`),
			(now === "applied" || now === "failed") && h("button", { id: "undo-plan", on: { click: ["undoPlan"] } }, "Undo it"),
			plan.expires_at && now === "ready" && h("span.small", `good until ${fullTime(plan.expires_at)}`)),
		plan.sample?.length > 0 && [
			h("h3", plan.sample.length < matched ? `The first ${count(plan.sample.length)}` : "They are"),
			h("ul.short", { id: "sample" }, plan.sample.map((one) => h("li", { key: one.conversation_id },
				viewLink(state, "a", { page: "desk", open: one.conversation_id, plan: "" }, h("span.text", { dir: "auto" }, one.text ?? one.conversation_id)),
				h("span.small", [one.author, one.timestamp && time(one.timestamp, state.now)].filter(Boolean).join(", ")),
				h("p.small", changeOf(stateText(one.before), stateText(one.after))))))]);
}

const changeOf = (before, after) => (before === after ? `stays ${after}` : `${before} → ${after}`);

// Of one post before or after.
function stateText(one) {
	if (!one) return "–";
	if (one.status) return one.status;
	if (one.state) return one.by ? `${one.state} by ${one.by}` : one.state;
	const mood = sentimentOf(one.sentiment_score ?? one.grok_analysis?.sentiment_score);
	return `${SIGNS[mood]} ${mood}, ${(one.clusters ?? one.grok_analysis?.clusters ?? []).map(topicName).join(", ")}`;
}
