// The post that is open: all that is known of it, and what is near it.

import { reasonOf, tries } from "./facts.js";
import { age, count, fullTime, plural, sentimentOf, time, utc } from "./format.js";
import { handlingOf, judgement } from "./judged.js";
import { originalOf } from "./original.js";
import { mood, note, viewLink } from "./parts.js";
import { answerTo } from "./questions.js";
import { h } from "./render.js";
import { sameTextKey } from "./same.js";
import { marked } from "./search.js";
import { itemOf, mayWrite } from "./work.js";

const LONG_TEXT = 1200;

const problemText = (problem) => (problem.status === 404 ? "This post is not there any more: it may have been erased." : problem.text);

export function openPost(state) {
	const { view } = state;
	const { value: found, problem, stale } = answerTo(state, "open");
	const close = h("button.close", { "aria-label": "Close", on: { click: ["closePost"] } }, "×");
	if (!found || stale) {
		return h("aside.pane", { key: "pane", id: "open", "aria-label": "The post that is open" }, close, h("p", { id: "open-text" }, problem ? problemText(problem) : "Loading…"));
	}
	const item = found.insight && itemOf(state, view.open);
	const original = originalOf(found);
	const { value: earlier, stale: olderStale } = answerTo(state, "earlier");
	const rows = answerTo(state, "list").value?.rows ?? [];
	const key = sameTextKey(found.text);
	const same = rows.filter((row) => row.conversation_id !== view.open && sameTextKey(row.text) === key);
	const others = olderStale ? [] : (earlier?.insights ?? []).filter((row) => row.conversation_id !== view.open).slice(0, 5);
	const long = found.text.length > LONG_TEXT;
	const whole = state.tables.text;
	const byAuthor = ["see", { author: found.author, order: "newest", open: "" }];
	return h("aside.pane", { key: "pane", id: "open", tabindex: -1, "aria-label": "The post that is open" },
		close,
		h("div.who", found.author ? h("button.chip", { title: "Only this person", dir: "auto", on: { click: byAuthor } }, found.author) : h("span.small", "nobody is named"),
			h("time", { datetime: found.timestamp }, `${time(found.timestamp, state.now)}, ${age(found.timestamp, state.now)}`)),
		h("p.text", { id: "open-text", dir: "auto" }, marked(long && !whole ? `${found.text.slice(0, LONG_TEXT)}…` : found.text, view.q)),
		long && h("button.link", { on: { click: ["table", "text", !whole] } }, whole ? "Less" : `All ${count(found.text.length)} letters`),
		h("p.buttons",
			original && h("a.button", { id: "original", href: original.href, target: "_blank", rel: "noreferrer noopener" }, "Open post ↗"),
			original?.reply && h("a.button", { href: original.reply, target: "_blank", rel: "noreferrer noopener" }, "Reply ↗"),
			h("button", { on: { click: ["copyLink", "post"] } }, "Copy link")),
		note(state, "post"),
		item ? [handlingOf(state, item), judgement(state, item), mayWrite(state) && h("button.link", { id: "all-like-this", on: { click: ["draftFrom", view.open] } }, "Change all like this…")]
			: h("p", { class: found.status === "failed" ? "notice bad" : "notice" }, found.status === "failed" ? `${reasonOf(found.last_error).text} It was ${tries(found.attempts)}.` : "It waits to be analysed."),
		same.length > 0 && h("section", h("h2", `Same text: ${plural(same.length, "other")}`),
			mayWrite(state) && h("p.buttons", h("button", { id: "answer-all", on: { click: ["draftFrom", view.open, "answered"] } }, `All ${count(same.length + 1)} are answered…`)),
			h("ul.short", same.slice(0, 5).map((row) => shortPost(state, row, row.author ?? "nobody is named")))),
		others.length > 0 && h("section", h("h2", `Others of the same author: ${count(earlier.metadata.total_count - (found.insight ? 1 : 0))}`), h("ul.short", others.map((row) => shortPost(state, row, row.text)))),
		h("details", h("summary", "All that is known"),
			h("dl.pairs",
				h("dt", "Written"), h("dd", `${fullTime(found.timestamp)} (${utc(found.timestamp)})`),
				h("dt", "Received"), h("dd", `${fullTime(found.created_at)} (${utc(found.created_at)})`),
				h("dt", "Status"), h("dd", `${found.status}, ${found.lane === "live" ? "live" : "from an import"}, ${tries(found.attempts)}`),
				found.last_error && [h("dt", "Last error"), h("dd", { dir: "auto" }, found.last_error)],
				found.raw_data && [h("dt", "Came with"), h("dd", h("pre", { tabindex: 0 }, JSON.stringify(found.raw_data, null, 2)))]),
			h("a", { href: answerTo(state, "open").urls?.[0] ?? "" }, `${found.conversation_id} as JSON`)));
}

const shortPost = (state, row, text) => h("li", { key: row.conversation_id },
	viewLink(state, "a", { open: row.conversation_id }, h("span.text", { dir: "auto" }, mood(sentimentOf(row.grok_analysis.sentiment_score)), " ", text)),
	h("span.small", time(row.timestamp, state.now)));
