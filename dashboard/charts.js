/** Charts as SVG with tables behind them. Geometry is in attributes, colours are in style.css. */

import { $, el, say, svg } from "./elements.js";
import { SENTIMENTS, bucketName, bucketTick, compact, count, score } from "./words.js";

const HEIGHT = 176;
const LEFT = 44;
const RIGHT = 40;
const TOP = 10; // below the plot there are 24 for the times
const TICK_WIDTH = 86;

/** How many of each sentiment, side by side; `most` fills the width. */
export function splitBar(counts, most) {
	const bar = svg("svg.split", { viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" });
	let x = 0;
	for (const sentiment of SENTIMENTS) {
		const width = (100 * counts[sentiment]) / most;
		bar.append(svg(`rect.${sentiment}`, { x, width, height: 10 }));
		x += width;
	}
	return bar;
}

/** Stacked counts and the line of their average. Choosing buckets, by dragging or by keys, zooms. */
export class TimeChart {
	/** `onZoom` gets two moments. */
	constructor(onZoom) {
		Object.assign(this, { onZoom, series: [], frame: $("chart"), table: $("chart-table") });
		this.#forget();
		this.choice = svg("rect.choice", { y: TOP, height: HEIGHT });
		this.picture = svg("svg", { "aria-hidden": "true" });
		this.frame.append(this.picture);
		new ResizeObserver(() => this.#paint()).observe(this.frame);
		this.table.addEventListener("toggle", () => this.#fillTable());
		this.#listen();
	}

	/** `series` as the API gives it; `period` has its interval. */
	draw(series, period) {
		if (this.series[0]?.bucket !== series[0].bucket) this.#forget();
		Object.assign(this, { series, period, dates: series.map(({ bucket }) => new Date(bucket)) });
		this.#paint();
		this.#fillTable();
	}

	#forget() {
		this.first = this.last = null;
		this.dragging = false;
	}

	#paint() {
		const { series, dates, period } = this;
		const width = this.frame.clientWidth - LEFT - RIGHT;
		if (width < 1 || !series.length) return;
		const most = Math.max(1, ...series.map(total));
		const step = niceStep(most / 3);
		const top = step * Math.ceil(most / step);
		const slot = (this.slot = width / series.length);
		const gap = slot > 4 ? Math.min(3, slot / 5) : 0;
		const x = (index) => fine(LEFT + index * slot);
		const y = (part) => fine(TOP + HEIGHT * (1 - part)); // 0 is the bottom, 1 the top
		const paths = { negative: "", neutral: "", positive: "", average: "" };
		let command = "M";
		for (const [index, bucket] of series.entries()) {
			let below = 0;
			for (const sentiment of SENTIMENTS.filter((name) => bucket[name])) {
				const above = below + bucket[sentiment];
				paths[sentiment] += `M${x(index)} ${y(below / top)}V${y(above / top)}h${fine(slot - gap)}V${y(below / top)}z`;
				below = above;
			}
			// Where nothing was the line is broken; one alone between two gaps is a dot.
			if (below) paths.average += `${command}${x(index + 0.5)} ${y((bucket.average_sentiment + 1) / 2)}h.01`;
			command = below ? "L" : "M";
		}
		const marks = [];
		const label = (x, y, text, anchor) => marks.push(svg("text", { x, y, "text-anchor": anchor }, text));
		for (let value = 0; value <= top; value += step) {
			marks.push(svg("path.grid", { d: `M${LEFT} ${y(value / top)}h${width}` }));
			label(LEFT - 6, y(value / top) + 4, compact(value), "end");
		}
		marks.push(svg("path.zero", { d: `M${LEFT} ${y(0.5)}h${width}` }));
		for (const [part, text] of [[0, "−1"], [0.5, "0"], [1, "+1"]]) label(LEFT + width + 8, y(part) + 4, text);
		const every = Math.ceil(TICK_WIDTH / slot);
		const part = (date) => (period.interval === "minute" ? date.getMinutes() : date.getHours());
		const round = dates.findIndex((date) => part(date) % every === 0);
		for (let index = Math.max(0, round); index < series.length - 30 / slot; index += every) {
			label(x(index), y(0) + 20, bucketTick(dates[index], period.interval), index && "middle");
		}
		const shapes = Object.entries(paths).map(([name, d]) => svg(`path.${name}`, { d }));
		this.picture.replaceChildren(...marks, this.choice, ...shapes);
		this.#point();
	}

	#listen() {
		const { frame } = this;
		const on = (name, listen) => frame.addEventListener(name, (event) => {
			if (!this.series.length) return;
			listen(event);
			this.#point();
		});
		const point = ({ clientX }) => {
			const index = Math.floor((clientX - frame.getBoundingClientRect().left - LEFT) / this.slot);
			this.last = this.#within(index);
			if (!this.dragging) this.first = this.last;
		};
		on("pointermove", point);
		on("pointerdown", (event) => {
			if (event.pointerType === "touch") return; // a finger scrolls
			frame.setPointerCapture(event.pointerId);
			point(event);
			this.dragging = true;
		});
		on("pointerup", () => {
			if (this.dragging && this.first !== this.last) this.#zoom(this.first, this.last);
			this.dragging = false;
		});
		on("pointerleave", () => this.dragging || this.#forget());
		on("blur", () => this.#forget());
		on("keydown", (event) => {
			const end = this.series.length;
			const to = { ArrowLeft: (this.last ?? end) - 1, ArrowRight: (this.last ?? -1) + 1, Home: 0, End: end }[event.key];
			if (to !== undefined) {
				this.last = this.#within(to);
				if (!event.shiftKey) this.first = this.last;
				this.first ??= this.last;
			} else if (event.key === "Enter" && this.last !== null) this.#zoom(this.first, this.last);
			else if (event.key === "Escape") this.#forget();
			else return;
			event.preventDefault();
		});
	}

	#within(index) {
		return Math.min(Math.max(index, 0), this.series.length - 1);
	}

	#zoom(...ends) {
		const { dates, period } = this;
		const after = dates[Math.max(...ends) + 1] ?? period.end + 1;
		this.#forget();
		this.onZoom(Math.max(dates[Math.min(...ends)], period.start), Math.min(after - 1, period.end));
	}

	/** Marks what is chosen, and tells its figures. */
	#point() {
		const none = this.last === null;
		const [first, last] = [this.first, this.last].sort((a, b) => a - b);
		this.choice.setAttribute("x", fine(LEFT + first * this.slot));
		this.choice.setAttribute("width", none ? 0 : fine((last - first + 1) * this.slot));
		say($("readout"), none ? "" : this.#tell(first, last));
	}

	#tell(first, last) {
		const [from, to] = [first, last].map((index) => bucketName(this.dates[index], this.period.interval));
		const sum = (value) => this.series.slice(first, last + 1).reduce((sum, bucket) => sum + value(bucket), 0);
		const figures = SENTIMENTS.map((name) => `${count(sum((bucket) => bucket[name]))} ${name}`);
		const average = sum((bucket) => bucket.average_sentiment * total(bucket)) / sum(total);
		return `${from === to ? from : `${from} to ${to}`}: ${figures.join(", ")}, average ${score(average || 0)}`;
	}

	#fillTable() {
		if (!this.table.open) return;
		const head = ["From", ...SENTIMENTS, "average"].map((name) => el("th", { scope: "col" }, name));
		const rows = this.series.map((bucket, index) => {
			const name = bucketName(this.dates[index], this.period.interval);
			const button = el("button.link", { title: "Zoom to this", click: () => this.#zoom(index) }, name);
			const average = total(bucket) ? score(bucket.average_sentiment) : "–";
			const cells = [...SENTIMENTS.map((name) => count(bucket[name])), average].map((text) => el("td", text));
			return el("tr", el("th", { scope: "row" }, button), ...cells);
		});
		this.table.lastElementChild.replaceChildren(el("table", el("thead", el("tr", ...head)), el("tbody", ...rows)));
	}
}

const total = (bucket) => bucket.negative + bucket.neutral + bucket.positive;
const fine = (number) => Math.round(number * 10) / 10;

/** 1, 2 or 5 times a power of ten; at least 1. */
function niceStep(least) {
	const power = 10 ** Math.floor(Math.log10(Math.max(least, 1)));
	return power * [1, 2, 5, 10].find((times) => times * power >= least);
}
