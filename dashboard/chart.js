// Counts over time as SVG. Pure: everything is drawn in parts of the width, so nothing is measured.

import { bucketTick, compact, SENTIMENTS } from "./format.js";
import { h } from "./render.js";

const MOST_TICKS = 6;
const STEPS = { minute: [1, 5, 10, 15, 20, 30, 60, 120], hour: [1, 2, 3, 6, 12, 24, 48, 72], day: [1, 2, 7, 14, 28], month: [1, 2, 3, 6, 12, 24] };
export const fine = (number) => Math.round(number * 1000) / 1000;

// Little more than is needed, and easy to halve.
function niceTop(most) {
	const step = Math.max(most, 1) / 2;
	const power = 10 ** Math.floor(Math.log10(Math.max(step, 1)));
	return 2 * power * [1, 1.5, 2, 3, 4, 5, 7.5, 10].find((times) => times * power >= step);
}

// Bars of counts, negative ones at the bottom where they can be compared, with the outline of the
// period before as `ghost`. `chosen` are the bars pointed at: { from, to }.
export function drawBars({ grain, bars }, ghost, chosen, now) {
	const top = niceTop(Math.max(...bars.map((bar) => bar.count), ...(ghost ?? []).map((bar) => bar.count)));
	const slot = 100 / bars.length;
	const gap = slot > 0.6 ? slot * 0.16 : 0;
	const y = (value) => fine(100 * (1 - value / top));
	const paths = { negative: "", neutral: "", positive: "" };
	const parts = { negative: "", neutral: "", positive: "" };
	for (const [index, bar] of bars.entries()) {
		let below = 0;
		for (const sentiment of SENTIMENTS.filter((name) => bar[name])) {
			const above = below + bar[sentiment];
			const path = `M${fine(index * slot)} ${y(below)}V${y(above)}h${fine(slot - gap)}V${y(below)}z`;
			if (bar.partial) parts[sentiment] += path;
			else paths[sentiment] += path;
			below = above;
		}
	}
	const outline = (ghost ?? []).slice(0, bars.length).map((bar, index) => `${index ? "L" : "M"}${fine(index * slot)} ${y(bar.count)}H${fine((index + 1) * slot - gap)}`).join("");
	return [
		h("svg.bars", { viewBox: "0 0 100 100", preserveAspectRatio: "none", "aria-hidden": "true" },
			h("path.grid", { d: `M0 ${y(top)}H100M0 ${y(top / 2)}H100M0 100H100`, "vector-effect": "non-scaling-stroke" }),
			chosen && h("rect.choice", { x: fine(Math.min(chosen.from, chosen.to) * slot), y: 0, height: 100, width: fine((Math.abs(chosen.to - chosen.from) + 1) * slot) }),
			SENTIMENTS.map((name) => paths[name] && h("path", { class: name, d: paths[name] })),
			SENTIMENTS.map((name) => parts[name] && h("path.partial", { class: name, d: parts[name] })),
			outline && h("path.ghost", { d: outline, "vector-effect": "non-scaling-stroke" })),
		h("svg.axis", { "aria-hidden": "true" },
			ticksOf(grain, bars).map(([index, text, anchor]) =>
				h("text", { x: `${fine(index * slot)}%`, y: 12, "text-anchor": anchor }, text))),
		h("span.scale", { "aria-hidden": "true" }, compact(top)),
	];

	function ticksOf(grain, bars) {
		const every = STEPS[grain]?.find((steps) => bars.length / steps <= MOST_TICKS) ?? Math.ceil(bars.length / MOST_TICKS);
		const part = (bar) => (grain === "hour" ? new Date(bar.start).getHours() : grain === "minute" ? new Date(bar.start).getMinutes() : 0);
		const first = grain === "hour" || grain === "minute" ? Math.max(0, bars.findIndex((bar) => part(bar) % Math.min(every, 24) === 0)) : 0;
		const ticks = [];
		for (let index = first; index < bars.length; index += every) {
			if ((bars.length - index) * slot < 9) break;
			ticks.push([index, bucketTick(bars[index].start, grain, now), index * slot < 6 ? "start" : "middle"]);
		}
		return ticks;
	}
}

// Counts of each sentiment, side by side; `most` fills the width.
export function splitBar(counts, most) {
	let x = 0;
	return h("svg.split", { viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" },
		SENTIMENTS.map((name) => {
			const rect = counts[name] && h("rect", { class: name, x: fine(x), width: fine((100 * counts[name]) / most), height: 10 });
			x += (100 * counts[name]) / most;
			return rect;
		}));
}
