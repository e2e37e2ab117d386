// Summaries of the API put together, for a time that is too long for one answer. Pure.

import { add, groupBy, mean } from "./summaries.js";

// One summary of several that follow each other, oldest first.
/** @param {Api.SummaryOut[]} summaries @returns {Api.SummaryOut} */
export function mergeSummaries(summaries) {
	const clusters = groupBy(summaries.flatMap((summary) => summary.clusters), ({ cluster }) => cluster);
	const totals = summaries.map((summary) => summary.totals);
	return {
		series: summaries.flatMap((summary) => summary.series),
		clusters: [...clusters]
			.map(([cluster, parts]) => ({ cluster, count: parts.reduce((sum, part) => sum + part.count, 0), ...add(parts) }))
			.sort((a, b) => b.count - a.count),
		totals: {
			count: totals.reduce((sum, part) => sum + part.count, 0), ...add(totals),
			average_confidence: mean(totals, (part) => part.average_confidence, (part) => part.count),
		},
		corrected_count: summaries.reduce((sum, part) => sum + part.corrected_count, 0),
		handling: mergeHandling(summaries.map(({ handling }) => handling)),
	};
}

// The median of all is not in the medians of parts.
/** @param {Api.HandlingCounts[]} parts @returns {Api.HandlingCounts} */
function mergeHandling(parts) {
	const sum = (name) => parts.reduce((sum, part) => sum + part[name], 0);
	return {
		open: sum("open"), claimed: sum("claimed"), answered: sum("answered"), snoozed: sum("snoozed"), ignored: sum("ignored"),
		oldest_open: parts.map((part) => part.oldest_open).filter(Boolean).sort()[0] ?? null,
		answered_in_goal: mean(parts, (part) => part.answered_in_goal, (part) => part.answered),
		median_answer_seconds: null,
	};
}
