// Asks what a state wants to know, and again, as often as each question says.

import { ask, urlOf } from "./api.js";
import { questions } from "./questions.js";

const SHARE = 30; // a slow service is not asked for more than a 30th of the time
const RETRY_SECONDS = 5;
const KEPT = 60; // answers to questions of before, for those who go back

export class Loader {
	#parts = new Map(); // by name: the question and when it is asked
	#kept = new Map();
	#going = false;
	send;
	isCalm;

	// `send` gets events for `change`; `isCalm` tells whether rows may move now.
	constructor(send, isCalm) {
		Object.assign(this, { send, isCalm });
	}

	// To be called with every new state.
	sync(state) {
		this.state = state;
		const wanted = new Map(questions(state).map((question) => [question.part, question]));
		for (const [name, part] of this.#parts) if (wanted.get(name)?.key !== part.question.key) this.#end(name, part);
		for (const [name, question] of wanted) {
			const part = this.#parts.get(name);
			if (part) part.question = question;
			else this.#begin(name, question);
		}
	}

	#begin(name, question) {
		const part = { question, stop: new AbortController(), last: -Infinity, rest: 0 };
		this.#parts.set(name, part);
		const kept = this.#kept.get(question.key);
		if (kept && this.state.answers[name]?.key !== question.key) this.send(["kept", name, kept]);
		this.#run(name, part);
	}

	#end(name, part) {
		part.stop.abort();
		clearTimeout(part.timer);
		this.#parts.delete(name);
		const answer = this.state.answers[name];
		if (!answer?.value || answer.key !== part.question.key) return;
		this.#kept.delete(answer.key);
		this.#kept.set(answer.key, answer);
		if (this.#kept.size > KEPT) this.#kept.delete(this.#kept.keys().next().value);
	}

	start() {
		if (this.#going) return;
		this.#going = true;
		for (const [name, part] of this.#parts) this.#plan(name, part);
	}

	stop() {
		this.#going = false;
		for (const part of this.#parts.values()) clearTimeout(part.timer);
	}

	// There is news: whatever it changes is asked for again, soon.
	nudge() {
		for (const [name, part] of this.#parts) {
			part.nudged = true;
			this.#plan(name, part);
		}
	}

	// Now, since the reader did something.
	renew(name) {
		const part = this.#parts.get(name);
		if (part && !part.running) this.#run(name, part);
	}

	#plan(name, part) {
		clearTimeout(part.timer);
		if (!this.#going || part.running || this.#parts.get(name) !== part) return;
		const { least, most } = part.question;
		const pause = part.wait ?? (part.nudged ? Math.min(most, Math.max(least, part.rest)) : most);
		part.timer = setTimeout(() => this.#run(name, part), part.last + pause - performance.now());
	}

	async #run(name, part) {
		const { question } = part;
		const { signal } = part.stop;
		const urls = [];
		const get = (path, parameters) => {
			urls.push(urlOf(path, parameters));
			return ask(urls.at(-1), { signal });
		};
		const began = performance.now();
		clearTimeout(part.timer);
		part.running = true;
		part.nudged = false;
		part.wait = undefined;
		try {
			const value = await question.ask(get, Date.now());
			if (!signal.aborted) this.send(["answered", name, question.key, value, urls, this.isCalm()]);
		} catch (problem) {
			if (signal.aborted) return;
			if (problem.status === undefined) console.error(problem);
			const mends = problem.status === 0 || problem.status >= 500;
			if (mends) part.wait = 1000 * (problem.retryAfter ?? RETRY_SECONDS);
			this.send(["failed", name, question.key, { text: problem.message, status: problem.status, mends }]);
		}
		part.running = false;
		part.last = performance.now();
		// One slow answer is no slow service: it may have waited for others in the browser.
		const took = part.last - began;
		part.rest = SHARE * Math.min(took, part.took ?? 0);
		part.took = took;
		this.#plan(name, part);
	}
}
