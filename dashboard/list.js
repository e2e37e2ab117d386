/** The conversations: newest first as they come in, or most urgent first. */

import { filterOf, timesOf } from "./address.js";
import { ask, urlOf } from "./api.js";
import { $, el, keyed, say } from "./elements.js";
import { bothTimes, count, mood, percent, score, sentimentOf, time, topicName } from "./words.js";

const PAGE = 50;
const RANKED = 200;
const MOST_WAITING = 200;
const MOST_ROWS = 500;

const idOf = ({ conversation_id }) => conversation_id;

export class List {
	/** `onFilter` gets a change of the view; `guard` runs what asks the service. */
	constructor(onFilter, guard) {
		Object.assign(this, { onFilter, guard, waiting: new Map() });
		$("more").addEventListener("click", () => this.#more());
		$("new").addEventListener("click", () => {
			this.#showWaiting();
			$("list-title").focus();
		});
		const seen = ([{ isIntersecting }]) => isIntersecting && !this.urgent && this.#more();
		new IntersectionObserver(seen, { rootMargin: "800px" }).observe($("more"));
	}

	/** `rising` is a promise of the topics that rise now. */
	async load(view, period, rising, signal) {
		Object.assign(this, { view, period, rising, signal, urgent: view.order === "urgent", cursor: null, loading: false });
		await this.#page([]);
	}

	async #page(before) {
		const { view, signal, urgent } = this;
		const which = urgent ? { sentiment: "negative", limit: RANKED } : { limit: PAGE };
		const parameters = { ...timesOf(this.period), ...filterOf(view), q: view.q, ...which, cursor: this.cursor };
		const [{ insights, metadata }, rising] = await Promise.all([ask("insights", parameters, { signal }), urgent && this.rising]);
		const known = new Set(before.map(idOf));
		this.rows = [...before, ...insights.filter((row) => !known.has(idOf(row)))];
		if (urgent) {
			for (const row of this.rows) row.urgency = urgency(row.grok_analysis, rising);
			this.rows.sort((a, b) => b.urgency - a.urgency);
		}
		if (!before.length) this.#forgetWaiting();
		Object.assign(this, { cursor: metadata.next_cursor, total: metadata.total_count });
		$("list-json").href = urlOf("insights", parameters);
		this.#show();
	}

	async #more() {
		if (!this.cursor || this.loading) return;
		const { signal } = this;
		this.loading = true;
		await this.guard("list", () => this.#page(this.rows));
		if (signal === this.signal) this.loading = false;
	}

	/** What came in, and with `gap` more than that. It waits behind a button where it would disturb. */
	offer(insights, gap = false) {
		if (!this.rows) return;
		const known = new Set(this.rows.map(idOf));
		for (const row of insights) if (!known.has(idOf(row)) && this.#fits(row)) this.waiting.set(idOf(row), row);
		this.gap ||= gap || this.waiting.size > MOST_WAITING;
		if (this.gap) this.waiting.clear();
		else if (!this.waiting.size) return;
		if (this.#calm && !this.view.q && !this.urgent) this.#showWaiting();
		else this.#tell();
	}

	/** As the API filters; of `q` it alone can tell. */
	#fits({ timestamp, author, grok_analysis: { sentiment_score, clusters, confidence } }) {
		const { view, period } = this;
		const moment = Date.parse(timestamp);
		return moment >= period.start && (period.rolling || moment <= period.end) &&
			(!view.sentiment || sentimentOf(sentiment_score) === view.sentiment) &&
			(!view.cluster || clusters.includes(view.cluster)) &&
			(!view.author || author === view.author) && confidence >= Number(view.min_confidence);
	}

	/** The top is in sight, and nobody reads, points or types there. */
	get #calm() {
		return $("list").getBoundingClientRect().top > 0 && !$("list").matches(":hover, :focus-within, :has([aria-expanded=true])");
	}

	#showWaiting() {
		const rows = [...this.waiting.values(), ...this.rows];
		if (this.view.q || this.urgent || this.gap || rows.length > MOST_ROWS) {
			const period = this.period.rolling ? { ...this.period, end: Date.now() } : this.period;
			this.guard("list", () => this.load(this.view, period, this.rising, this.signal));
			return;
		}
		rows.sort((a, b) => Date.parse(b.timestamp) - Date.parse(a.timestamp));
		while (this.cursor && this.waiting.has(idOf(rows.at(-1)))) rows.pop(); // it comes with its page
		this.total += this.waiting.size;
		this.rows = rows;
		this.#forgetWaiting();
		this.#show();
	}

	#forgetWaiting() {
		this.waiting.clear();
		this.gap = false;
	}

	#show() {
		keyed($("list"), this.rows, (row) => idOf(row) + (this.urgent ? row.urgency : ""), (row) => this.#row(row));
		this.#tell();
	}

	#tell() {
		const waiting = this.waiting.size;
		say($("list-total"), count(this.total));
		$("rule").hidden = !this.urgent;
		say($("covers"), `Ranked: the newest ${count(this.rows.length)} of ${count(this.total)} negative ones.`);
		$("nothing").hidden = this.rows.length;
		$("more").hidden = !this.cursor;
		say($("more"), this.urgent ? `Rank ${RANKED} more` : "Show more");
		$("new").hidden = !waiting && !this.gap;
		say($("new"), `${waiting ? count(waiting) : "Many"} new: ${this.urgent ? "rank" : this.view.q ? "search" : "show"}`);
	}

	#row({ conversation_id: id, timestamp, text, author, urgency, grok_analysis: { sentiment_score, clusters, confidence } }) {
		const details = el("div.details", { hidden: "" });
		const toggle = () => {
			details.hidden = !details.hidden;
			opener.setAttribute("aria-expanded", !details.hidden);
			if (!details.hidden) this.guard("details", () => showDetails(details, id));
		};
		const opener = el("button.opener", { "aria-expanded": "false", "aria-label": `Details: ${text.slice(0, 60)}`, click: toggle });
		const chip = (name, value, label) =>
			el("button.chip", { title: `Only this ${name}`, dir: "auto", click: () => this.onFilter({ [name]: value }) }, label);
		return el("li.row", mood(sentiment_score),
			el("div",
				el("p.text", { dir: "auto", click: () => getSelection().isCollapsed && toggle() }, text),
				el("div.facts", time(timestamp), author && chip("author", author, author),
					...clusters.map((cluster) => chip("cluster", cluster, topicName(cluster))),
					el("span", `${percent(confidence)} sure`), urgency && el("span", `urgency ${count(100 * urgency)}`))),
			opener, details);
	}
}

/** The rule that the page states, as a part of 1. */
function urgency({ sentiment_score, confidence, clusters }, rising) {
	return -sentiment_score * confidence * (clusters.some((cluster) => rising.has(cluster)) ? 1.5 : 1);
}

async function showDetails(place, id) {
	const found = await ask(`conversations/${id}`);
	const analysis = found.insight?.grok_analysis;
	const facts = {
		Reasoning: analysis?.reasoning,
		Sentiment: analysis && score(analysis.sentiment_score),
		Confidence: analysis && percent(analysis.confidence),
		Time: bothTimes(found.timestamp),
		Received: bothTimes(found.created_at),
		Status: `${found.status}, ${found.lane} lane`,
		Attempts: count(found.attempts),
		"Last error": found.last_error,
		"Raw data": found.raw_data && el("pre", { tabindex: "0" }, JSON.stringify(found.raw_data, null, 2)),
	};
	const told = Object.entries(facts).filter(([, value]) => value);
	place.replaceChildren(
		el("dl", ...told.flatMap(([name, value]) => [el("dt", name), el("dd", { dir: "auto" }, value)])),
		el("a", { href: urlOf(`conversations/${id}`) }, `${id} as JSON`));
}
