// Summaries of the API put together, for a time that is too long for one answer. Pure.

import { add, groupBy, mean } from "./summaries.js";

// One summary of several that follow each other, oldest first.
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
	};
}
