// Whether figures of two periods differ by more than chance. Pure.
//
// As the service judges trends: the signed root of the log-likelihood ratio of "one rate all along"
// against "another rate now", which holds for small counts too, and is called from 3 on.

const CALLED_FROM = 3;
const LEAST_COUNT = 5;
export const LEAST_POINTS = 0.02; // a share that moves less is not worth a word, however sure it is

const surprise = (count, expected) => (count ? count * Math.log(count / expected) : 0);
const root = (ratio, sign) => Math.sign(sign) * Math.sqrt(Math.max(0, 2 * ratio));

// How much more than Poisson the counts vary among themselves: 1 at least.
export function dispersion(counts) {
	if (counts.length < 3) return 1;
	const mean = counts.reduce((sum, count) => sum + count, 0) / counts.length;
	if (!mean) return 1;
	return Math.max(1, counts.reduce((sum, count) => sum + (count - mean) ** 2, 0) / (counts.length - 1) / mean);
}

// -1, 0 or 1: whether the count of one period is called lower, the same, or higher than `before`.
export function compareCounts(count, before, { spread = 1 } = {}) {
	if (Math.max(count, before) < LEAST_COUNT) return 0;
	const rate = (count + before) / 2;
	const score = root(surprise(count, rate) + surprise(before, rate), count - rate) / Math.sqrt(spread);
	return Math.abs(score) >= CALLED_FROM ? Math.sign(score) : 0;
}

// The same of a share: `part` of `whole` now, against `partBefore` of `wholeBefore`.
export function compareShares(part, whole, partBefore, wholeBefore) {
	if (!whole || !wholeBefore) return 0;
	const share = (part + partBefore) / (whole + wholeBefore);
	const difference = part / whole - partBefore / wholeBefore;
	if (share <= 0 || share >= 1 || Math.abs(difference) < LEAST_POINTS) return 0;
	const ratio = surprise(part, whole * share) + surprise(whole - part, whole * (1 - share)) +
		surprise(partBefore, wholeBefore * share) + surprise(wholeBefore - partBefore, wholeBefore * (1 - share));
	return Math.abs(root(ratio, 1)) >= CALLED_FROM ? Math.sign(difference) : 0;
}

// Whether so few are compared that even all against none would not be called.
export const tooFew = (whole, wholeBefore) => 2 * Math.min(whole, wholeBefore) * Math.LN2 * 2 < CALLED_FROM ** 2;
