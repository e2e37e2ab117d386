// How often something is asked again.

const SHARE = 30; // a slow service is not asked for more than a 30th of the time

// Runs `task` every `most` milliseconds, and sooner after a `nudge`, yet `least` apart.
export class Pace {
	constructor(task, least, most = least) {
		Object.assign(this, { task, least, most, last: performance.now(), rest: 0 });
	}

	start() {
		this.going = true;
		this.#plan();
	}

	stop() {
		this.going = false;
		clearTimeout(this.timer);
	}

	nudge() {
		this.nudged = true;
		this.#plan();
	}

	#plan() {
		clearTimeout(this.timer);
		if (!this.going || this.running) return;
		const pause = this.nudged ? Math.min(this.most, Math.max(this.least, this.rest)) : this.most;
		this.timer = setTimeout(() => this.#run(), this.last + pause - performance.now());
	}

	async #run() {
		const began = performance.now();
		this.running = true;
		this.nudged = false;
		await this.task();
		this.running = false;
		this.last = performance.now();
		this.rest = SHARE * (this.last - began);
		this.#plan();
	}
}
