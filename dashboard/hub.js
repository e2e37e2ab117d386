// One stream for all tabs of a browser. Over HTTP/1.1 a browser has six connections to a host: if
// each tab held one for good, the seventh tab would stay white, and the others would freeze.
//
// Runs as a SharedWorker. A tab says `{ key }` to listen, and null to stop. It hears `{ state,
// seconds, resumes }`, and `{ events }`, as of a `Stream`.

import { Stream } from "./stream.js";

const URL_OF_STREAM = new URL("../api/v1/stream", import.meta.url);
const streams = new Map(); // by key, since what one key may read is not another's

class SharedStream {
	ports = new Set();
	told = { state: "connecting" };

	constructor(key) {
		this.stream = new Stream(URL_OF_STREAM, key,
			(events) => this.#tell({ events }),
			(state, seconds) => this.#tell((this.told = { state, seconds, resumes: this.stream?.resumes })));
		this.leave = (port) => {
			this.ports.delete(port);
			if (this.ports.size && this.told.state !== "refused") return;
			this.stream.stop();
			if (streams.get(key) === this) streams.delete(key);
		};
	}

	join(port) {
		this.ports.add(port);
		port.postMessage(this.told);
	}

	#tell(message) {
		for (const port of this.ports) port.postMessage(message);
	}
}

export function serve(port) {
	let joined;
	port.onmessage = ({ data }) => {
		joined?.leave(port);
		joined = undefined;
		if (!data) return;
		if (!streams.has(data.key)) streams.set(data.key, new SharedStream(data.key));
		joined = streams.get(data.key);
		joined.join(port);
	};
}

self.onconnect = ({ ports: [port] }) => serve(port);
