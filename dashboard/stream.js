// What happens as it happens, over server-sent events, mended when the connection is lost.

const LONGEST_WAIT = 10;
const SILENCE = 40_000; // the service says something every 15 s

// By `fetch`, as an EventSource can send no key.
export class Stream {
	url;
	key;
	onEvents;
	onState;

	// `onEvents` gets `[name, data]` of each; of an "insight" the name alone, since it is asked for.
	// `onState` gets "connecting", "live", "refused" (by the key; then it has ended), or "lost" and
	// the seconds to the next try. `resumes` tells whether nothing was left out since the connection before.
	constructor(url, key, onEvents, onState) {
		Object.assign(this, { url, key, onEvents, onState });
		this.stopped = new AbortController();
		this.#run();
	}

	stop() {
		this.stopped.abort();
	}

	async #run() {
		const { signal } = this.stopped;
		for (let failures = 0; !signal.aborted; failures++) {
			this.onState("connecting");
			const onOpen = () => {
				failures = 0;
				this.onState("live");
			};
			const status = await this.#read(signal, onOpen).catch(() => 0); // the next try tells whether it is mended
			if (signal.aborted) return;
			if (status === 401 || status === 403) return this.onState("refused");
			const seconds = Math.min(2 ** failures, LONGEST_WAIT) * (0.75 + Math.random() / 2);
			this.onState("lost", seconds);
			await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
		}
	}

	// Until the connection ends; its status.
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
			const headers = {
				...(this.key && { Authorization: `Bearer ${this.key}` }),
				...(this.resumes && { "Last-Event-ID": this.lastId }),
			};
			const { ok, status, body } = await fetch(this.url, { signal, headers });
			if (!ok) return status;
			onOpen();
			const reader = body.pipeThrough(new TextDecoderStream()).getReader();
			for (let rest = ""; ; ) {
				const { value, done } = await reader.read();
				if (done) return status;
				heard();
				const parts = (rest + value.replaceAll("\r", "")).split("\n\n");
				rest = parts.pop();
				const events = parts.map((part) => this.#eventIn(part)).filter(Boolean);
				if (events.length) this.onEvents(events);
			}
		} finally {
			clearTimeout(timer);
		}
	}

	#eventIn(part) {
		const { id, event, data } = Object.fromEntries([...part.matchAll(/^(\w+): ?(.*)$/gm)].map(([, ...field]) => field));
		this.lastId = id ?? this.lastId;
		return event && [event, event === "insight" ? null : JSON.parse(data)];
	}
}
