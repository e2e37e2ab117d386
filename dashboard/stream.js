// New insights as they come, over server-sent events, mended when the connection is lost.

import { open, urlOf, wait } from "./api.js";

const LONGEST_WAIT = 10;
const SILENCE = 40_000; // the service says something every 15 s

// By `fetch`, as an EventSource can send no key.
export class Stream {
	// `onState` gets "connecting", "live", "stopped", or "lost" and the seconds to the next try.
	// `resumes` tells whether nothing was left out since the connection before.
	constructor(onInsight, onState) {
		Object.assign(this, { onInsight, onState });
	}

	start() {
		if (this.running) return;
		this.running = new AbortController();
		this.#run(this.running.signal);
	}

	stop() {
		this.running?.abort();
		this.running = this.lastId = null; // after hours there would be too much to go on with
		this.onState("stopped");
	}

	async #run(signal) {
		for (let failures = 0; !signal.aborted; failures++) {
			this.onState("connecting");
			const onOpen = () => {
				failures = 0;
				this.onState("live");
			};
			await this.#read(signal, onOpen).catch(() => {}); // the next try tells whether it is mended
			if (signal.aborted) return;
			const seconds = Math.min(2 ** failures, LONGEST_WAIT) * (0.75 + Math.random() / 2);
			this.onState("lost", seconds);
			await wait(seconds * 1000, signal).catch(() => {});
		}
	}

	async #read(stopped, onOpen) {
		const silent = new AbortController();
		let timer;
		const heard = () => {
			clearTimeout(timer);
			timer = setTimeout(() => silent.abort(), SILENCE);
		};
		try {
			heard();
			this.resumes = Boolean(this.lastId);
			const signal = AbortSignal.any([stopped, silent.signal]);
			const response = await open(urlOf("stream"), { signal, headers: this.resumes && { "Last-Event-ID": this.lastId } });
			onOpen();
			const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
			for (let rest = ""; ; ) {
				const { value, done } = await reader.read();
				if (done) return;
				heard();
				const events = (rest + value.replaceAll("\r", "")).split("\n\n");
				rest = events.pop();
				for (const event of events) this.#take(event);
			}
		} finally {
			clearTimeout(timer);
		}
	}

	#take(event) {
		const fields = Object.fromEntries([...event.matchAll(/^(\w+): ?(.*)$/gm)].map(([, ...field]) => field));
		this.lastId = fields.id ?? this.lastId;
		if (fields.event === "insight") this.onInsight(JSON.parse(fields.data));
	}
}
