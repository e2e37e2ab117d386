// A list that is there, and the one that comes after it. Pure.

const idOf = ({ conversation_id }) => conversation_id;

// How many of `next` are not in `list`. What comes after all that is known only moved up, where `list`
// had more to come.
export function newRows(list, next) {
	const known = new Set(list.rows.map(idOf));
	const last = next.rows.findLastIndex((row) => known.has(idOf(row)));
	const among = list.cursor && last >= 0 ? next.rows.slice(0, last) : next.rows;
	return among.filter((row) => !known.has(idOf(row))).length;
}

// The rows of `list` in its order, as `next` has them.
export function sameRows(list, next) {
	const known = new Map(next.rows.map((row) => [idOf(row), row]));
	return { ...next, cursor: list.cursor, rows: list.rows.map((row) => known.get(idOf(row)) ?? row) };
}

// `next` with what the reader has claimed where it stands in `list`: it is no longer to be answered by
// just anybody, and stays in sight until it is dealt with.
export function keepMine(list, next, me) {
	const known = new Set(next.rows.map(idOf));
	const rows = [...next.rows];
	for (const [index, row] of list.rows.entries()) {
		if (row.handling.state === "claimed" && row.handling.by === me && !known.has(idOf(row))) rows.splice(index, 0, row);
	}
	return { ...next, rows };
}

// The first page anew, with what was loaded beyond it. Where so much came that they do not meet,
// the old rows go: what is between is unknown. Rows that stay the same are the same objects.
export function mergeLists(before, first) {
	const old = new Map(before.rows.map((row) => [idOf(row), row]));
	const same = (row) => (JSON.stringify(old.get(idOf(row))) === JSON.stringify(row) ? old.get(idOf(row)) : row);
	const top = first.rows.map(same);
	const last = first.rows.at(-1);
	const meets = first.cursor && top.findLastIndex((row) => old.has(idOf(row)));
	if (!first.cursor || meets < 0) return { ...first, rows: top };
	const there = new Set(top.map(idOf));
	const from = before.rows.findIndex((row) => idOf(row) === idOf(last));
	const older = (row, index) => !there.has(idOf(row)) && (from >= 0 ? index > from : first.order !== "priority" && row.timestamp <= last.timestamp);
	const rest = before.rows.filter((row, index) => older(row, index) && Date.parse(row.timestamp) >= first.period.start);
	return { ...first, rows: [...top, ...rest], cursor: rest.length ? before.cursor : first.cursor };
}
