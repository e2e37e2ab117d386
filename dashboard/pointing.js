// The chart's bars pointed at: what they hold in words, and the zoom into them.

import { ownRange } from "./address.js";
import { SENTIMENTS, bucketTick, count, shortDay, time, weekDay } from "./format.js";

// A bucket by its grain, in full.
export function bucketName(moment, grain, now) {
	if (grain === "week") return `week of ${shortDay(moment, now, { timeZone: "UTC" })}`;
	if (grain === "day") return weekDay(moment, now);
	return grain === "year" || grain === "month" ? bucketTick(moment, grain, now) : time(moment, now);
}

export const barName = ({ grain, bars }, index, now) =>
	`${bucketName(bars[index].start, grain, now)}${bars[index].partial ? (index === bars.length - 1 ? " (so far)" : " (in part)") : ""}`;

// What bars hold, in words.
export function barsInWords(chart, { from, to }, now) {
	const [first, last] = [from, to].sort((a, b) => a - b);
	const some = chart.bars.slice(first, last + 1);
	const sum = (name) => some.reduce((sum, bar) => sum + bar[name], 0);
	const when = first === last ? barName(chart, first, now) : `${barName(chart, first, now)} to ${barName(chart, last, now)}`;
	return `${when}: ${count(sum("count"))}, of them ${SENTIMENTS.map((name) => `${count(sum(name))} ${name}`).join(", ")}`;
}

export function chartEvents(state, chart, period) {
	const length = chart.bars.length;
	const at = (event) => {
		const { left, width } = event.currentTarget.getBoundingClientRect();
		return Math.min(length - 1, Math.max(0, Math.floor(((event.clientX - left) / width) * length)));
	};
	const zoom = ({ from, to }) => {
		const [first, last] = [from, to].sort((a, b) => a - b);
		return ["see", { ...ownRange(Math.max(chart.bars[first].start, period.start), Math.min(chart.bars[last].end - 1, period.end)), order: "newest", open: "" }];
	};
	const chosen = state.chart;
	return {
		pointermove: (event) => (event.pointerType !== "touch" || null) && ["point", chosen?.dragging ? { ...chosen, to: at(event) } : { from: at(event), to: at(event) }],
		pointerdown(event) {
			if (event.pointerType !== "touch") event.currentTarget.setPointerCapture(event.pointerId);
			return ["point", { from: at(event), to: at(event), dragging: event.pointerType !== "touch" }];
		},
		pointerup: () => chosen?.dragging && (chosen.from === chosen.to ? ["point", { ...chosen, dragging: false }] : zoom(chosen)),
		pointerleave: (event) => event.pointerType !== "touch" && chosen && !chosen.dragging && ["point", null],
		blur: () => chosen && ["point", null],
		keydown(event) {
			const to = { ArrowLeft: (chosen?.to ?? length) - 1, ArrowRight: (chosen?.to ?? -1) + 1, Home: 0, End: length - 1 }[event.key];
			if (event.key === "Escape") return ["point", null];
			if (event.key === "Enter" && chosen) return zoom(chosen);
			if (to === undefined) return null;
			event.preventDefault();
			const next = Math.min(length - 1, Math.max(0, to));
			return ["point", { from: event.shiftKey ? (chosen?.from ?? next) : next, to: next }];
		},
	};
}
