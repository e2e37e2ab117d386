// Texts that are the same, and rows of them as one. Pure.

import { groupBy } from "./summaries.js";

// As the service compares words: whatever their case and, in Latin, their accents.
export const fold = (text) => text.normalize("NFD").replace(/(\p{Script=Latin})\p{M}+/gu, "$1").normalize("NFC").toLowerCase();

// Texts are the same but for @handles, addresses, case and space.
export const sameTextKey = (text) => fold(text).replace(/https?:\/\/\S+/g, "url").replace(/@\w+/g, "@user").replace(/\s+/g, " ").trim();

let last = {}; // since the same rows are drawn many times
// `{ row, same }`: the first row of each text, and how many there are, in the order of the rows.
export function together(rows) {
	if (last.rows !== rows) last = { rows, items: [...groupBy(rows, (row) => sameTextKey(row.text)).values()].map((same) => ({ row: same[0], same: same.length })) };
	return last.items;
}
