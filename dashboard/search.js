// What is typed into the search, where its words are in a text, and what the page says of it. Pure.

import { viewLink } from "./parts.js";
import { h } from "./render.js";
import { fold } from "./same.js";

const WORD = /[\p{L}\p{N}\p{M}]+/gu;
const LEAST_PREFIX = 3;

// What is typed is a beginning: `refun` finds refund. Not in quotes, nor before a space or a star.
export function toQuery(typed) {
	const text = typed.trim();
	const last = text.match(/[\p{L}\p{N}\p{M}]+$/u)?.[0];
	const quoted = (text.match(/"/g) ?? []).length % 2 === 1;
	return last && [...last].length >= LEAST_PREFIX && !quoted && !/\s$/.test(typed) ? `${text}*` : text;
}

// A query's parts, each a list of words: a phrase has several. The last may be a beginning.
function partsOf(query) {
	const parts = [];
	for (const [, phrase, word] of query.matchAll(/"([^"]*)"?|([^\s"]+)/g)) {
		const text = phrase ?? word;
		const words = (text.match(WORD) ?? []).map(fold);
		if (words.length) parts.push({ words, prefix: phrase === undefined && text.endsWith("*") });
	}
	return parts;
}

// A text in pieces, `[text, isHit]`, so that hits can be marked.
export function markHits(text, query) {
	const parts = query ? partsOf(query) : [];
	if (!parts.length) return [[text, false]];
	const words = [...text.matchAll(WORD)].map((match) => ({ at: match.index, end: match.index + match[0].length, word: fold(match[0]) }));
	const fits = (word, wanted, prefix) => (prefix ? word.startsWith(wanted) : word === wanted);
	const pieces = [];
	let done = 0;
	for (let i = 0; i < words.length; i++) {
		const found = parts.find((part) => part.words.every((wanted, n) =>
			words[i + n] && fits(words[i + n].word, wanted, part.prefix && n === part.words.length - 1)));
		if (!found) continue;
		const { at } = words[i];
		i += found.words.length - 1;
		if (at > done) pieces.push([text.slice(done, at), false]);
		pieces.push([text.slice(at, words[i].end), true]);
		done = words[i].end;
	}
	if (done < text.length) pieces.push([text.slice(done), false]);
	return pieces;
}

export const marked = (text, query) => markHits(text, query).map(([piece, hit]) => (hit ? h("mark", piece) : piece));

// The topics that a typed name could mean, as they are written on the page or in the API.
export function topicsLike(typed, clusters, nameOf) {
	const wanted = fold(typed.trim()).replaceAll("_", " ");
	if (!wanted) return [];
	return clusters.filter(({ cluster }) => fold(nameOf(cluster)).includes(wanted) || fold(cluster.replaceAll("_", " ")).includes(wanted));
}

// Only the list knows the words.
export const searchNote = ({ view }) =>
	view.q && h("p.small", { key: "search-note", id: "search-note" }, "The figures and the chart below are of all posts in this time, whatever their words.");

// Where a search has found nothing: the same words in all of the time.
export const allTimes = (state) =>
	state.view.q && state.view.range !== "all" && [" ", viewLink(state, "a", { range: "all", order: "newest", open: "" }, { id: "all-times" }, "Search all times")];
