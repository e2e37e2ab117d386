// Charts as SVG with tables behind them. Geometry is in attributes, colours are in style.css.

import { $, el, say, svg } from "./elements.js";
import { SENTIMENTS, bucketName, bucketTick, compact, count, score } from "./words.js";

const HEIGHT = 176;
const LEFT = 44;
const RIGHT = 40;
const TOP = 10; // below the plot there are 24 for the times
const TICK_WIDTH = 86;

// Counts of each sentiment, side by side; `most` fills the width.
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

// The chart over time. Choosing buckets, by dragging or by keys, zooms.

const frame = $("chart");
const picture = svg("svg", { "aria-hidden": "true" });
const choice = svg("rect.choice", { y: TOP, height: HEIGHT });
let zoomTo; // gets two moments
let series = [];
let dates, period, slot;
let first, last, dragging; // the buckets chosen; undefined where there is none

const total = (bucket) => bucket.negative + bucket.neutral + bucket.positive;
const fine = (number) => Math.round(number * 10) / 10;
const within = (index) => Math.min(Math.max(index, 0), series.length - 1);
const nameOf = (index) => bucketName(dates[index], period.interval);
const forget = () => (first = last = dragging = undefined);

export function startChart(onZoom) {
	zoomTo = onZoom;
	frame.append(picture);
	new ResizeObserver(paint).observe(frame);
	$("chart-table").ontoggle = fillTable;
	const on = (name, listen) => frame.addEventListener(name, (event) => {
		if (!series.length) return;
		listen(event);
		point();
	});
	on("pointermove", follow);
	on("pointerdown", (event) => {
		if (event.pointerType === "touch") return; // a finger scrolls
		frame.setPointerCapture(event.pointerId);
		follow(event);
		dragging = true;
	});
	on("pointerup", () => {
		if (dragging && first !== last) zoom(first, last);
		dragging = false;
	});
	on("pointerleave", () => dragging || forget());
	on("blur", forget);
	on("keydown", press);
}

// `points` as the API gives them; `time` has their interval.
export function drawChart(points, time) {
	if (series[0]?.bucket !== points[0].bucket) forget();
	series = points;
	period = time;
	dates = series.map(({ bucket }) => new Date(bucket));
	paint();
	fillTable();
}

function follow({ clientX }) {
	last = within(Math.floor((clientX - frame.getBoundingClientRect().left - LEFT) / slot));
	if (!dragging) first = last;
}

function press(event) {
	const end = series.length;
	const to = { ArrowLeft: (last ?? end) - 1, ArrowRight: (last ?? -1) + 1, Home: 0, End: end }[event.key];
	if (to !== undefined) {
		last = within(to);
		if (!event.shiftKey) first = last;
		first ??= last;
	} else if (event.key === "Enter" && last !== undefined) zoom(first, last);
	else if (event.key === "Escape") forget();
	else return;
	event.preventDefault();
}

function zoom(...ends) {
	const after = dates[Math.max(...ends) + 1] ?? period.end + 1;
	forget();
	zoomTo(Math.max(dates[Math.min(...ends)], period.start), Math.min(after - 1, period.end));
}

function paint() {
	const width = frame.clientWidth - LEFT - RIGHT;
	if (width < 1 || !series.length) return;
	const most = Math.max(1, ...series.map(total));
	const step = niceStep(most / 3);
	const top = step * Math.ceil(most / step);
	slot = width / series.length;
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
		// Where nothing was the line is broken; one between two gaps is a dot.
		if (below) paths.average += `${command}${x(index + 0.5)} ${y((bucket.average_sentiment + 1) / 2)}h.01`;
		command = below ? "L" : "M";
	}
	const marks = [];
	const rule = (kind, part) => marks.push(svg(`path.${kind}`, { d: `M${LEFT} ${y(part)}h${width}` }));
	const label = (x, y, text, anchor) => marks.push(svg("text", { x, y, "text-anchor": anchor }, text));
	for (let value = 0; value <= top; value += step) {
		rule("grid", value / top);
		label(LEFT - 6, y(value / top) + 4, compact(value), "end");
	}
	rule("zero", 0.5);
	for (const average of [-1, 0, 1]) label(LEFT + width + 8, y((average + 1) / 2) + 4, average);
	const hours = period.interval === "hour";
	const every = (hours ? [1, 3, 6, 12, 24, 48, 96] : [1, 5, 10, 15, 30, 60, 120, 500]).find((steps) => steps * slot > TICK_WIDTH);
	const part = (date) => (hours ? date.getHours() : date.getMinutes());
	const round = dates.findIndex((date) => part(date) % every === 0);
	for (let index = Math.max(0, round); index < series.length - 30 / slot; index += every) {
		label(x(index), y(0) + 20, bucketTick(dates[index], period.interval), index && "middle");
	}
	picture.replaceChildren(...marks, choice, ...Object.entries(paths).map(([name, d]) => svg(`path.${name}`, { d })));
	point();
}

function point() {
	const none = last === undefined;
	const [from, to] = [first, last].sort((a, b) => a - b);
	choice.setAttribute("x", none ? 0 : fine(LEFT + from * slot));
	choice.setAttribute("width", none ? 0 : fine((to - from + 1) * slot));
	say($("readout"), none ? "" : figures(from, to));
}

function figures(from, to) {
	const sum = (value) => series.slice(from, to + 1).reduce((sum, bucket) => sum + value(bucket), 0);
	const counts = SENTIMENTS.map((name) => `${count(sum((bucket) => bucket[name]))} ${name}`);
	const average = sum((bucket) => bucket.average_sentiment * total(bucket)) / sum(total);
	return `${nameOf(from)}${from === to ? "" : ` to ${nameOf(to)}`}: ${counts.join(", ")}, average ${score(average || 0)}`;
}

function fillTable() {
	const table = $("chart-table");
	if (!table.open) return;
	const head = ["From", ...SENTIMENTS, "average"].map((name) => el("th", { scope: "col" }, name));
	const rows = series.map((bucket, index) => {
		const average = total(bucket) ? score(bucket.average_sentiment) : "–";
		const cells = [...SENTIMENTS.map((name) => count(bucket[name])), average];
		return el("tr", el("th", { scope: "row" }, nameOf(index)), ...cells.map((text) => el("td", text)));
	});
	table.lastElementChild.replaceChildren(el("table", el("thead", el("tr", ...head)), el("tbody", ...rows)));
}

// 1, 2 or 5 times a power of ten; at least 1.
function niceStep(least) {
	const power = 10 ** Math.floor(Math.log10(Math.max(least, 1)));
	return power * [1, 2, 5, 10].find((times) => times * power >= least);
}
