// What the page knows and shows, and how each event changes it. Pure: no clock, no network, no
// document. An event is an array, its name first.

import { NO_FILTER, changedView, readView, searchOf } from "./address.js";
import { questions } from "./questions.js";

export const initialState = (search, now, more = {}) => withQuestions({
	now,
	view: readView(search),
	answers: {}, // by part: { key, value, urls, problem }, see `questions.js`
	held: null, // a newer list that waits until the reader asks for it
	live: { state: "connecting" },
	paused: false,
	typed: {}, // what stands in inputs and is not looked at yet
	typing: false, // whether the search has the focus
	looked: null, // when the reader looked before
	near: null, // the row that is rested on
	drawn: { from: 0, height: 0 }, // the first row that is drawn, and the height of those before it
	pick: -1, // the suggestion that is chosen by keys
	chart: null, // the bars pointed at: { from, to, dragging }
	sheet: null, // what lies over the page
	menu: null, // the menu that is open
	tables: {}, // which tables are unfolded
	notes: {}, // what came of an action: { text, bad }
	failedShown: 20,
	me: "", // the reader's name, as others see it beside what is handled
	waiting: null, // the event that waits for the name
	snoozing: null, // the post that is to be snoozed
	editing: null, // the post whose topics are to be changed once it is open
	heard: "", // what another did last to what the reader is on, for who does not see it
	done: null, // what was done last: { text, bad, until, undo, more }, see `work.js`
	draft: null, // the change of many posts that is being written, see `rules.js`
	forms: {}, // what is being written in others, by their names
	told: {}, // what came of trying something, by what was tried
	askedForKey: null, // why a key is asked for
	loaded: {}, // modules that were not needed at first
	theme: "auto",
	keys: true, // whether single keys do anything: who dictates wants none
	notices: "default", // of the desktop: "granted", "denied", "unsupported"
	...more,
});

function withQuestions(state) {
	return { ...state, questions: Object.fromEntries(questions(state).map(({ part, key }) => [part, key])) };
}

export function change(state, [name, ...args]) {
	const next = CHANGES[name](state, ...args);
	return next === state ? state : withQuestions(next);
}

const see = (state, view) => {
	const moved = searchOf({ ...view, open: "" }) !== searchOf({ ...state.view, open: "" });
	const editing = view.open === state.editing ? state.editing : null;
	const open = view.open === state.view.open ? {} : { notes: {}, editing };
	if (!moved) return { ...state, view, ...open };
	return { ...state, view, ...open, held: null, drawn: { from: 0, height: 0 }, chart: null, menu: null, notes: {}, pick: -1, typing: false, typed: { search: undefined } };
};

// The state with posts as they are now wherever they are shown: by id, what is other.
function withItems(state, now) {
	const renewed = (id, shown) => (now.has(id) ? { ...shown, ...now.get(id) } : shown);
	const renew = (rows) => rows.map((row) => renewed(row.conversation_id, row));
	const { list, open, earlier } = state.answers;
	const answers = { ...state.answers };
	if (list?.value) answers.list = { ...list, value: { ...list.value, rows: renew(list.value.rows) } };
	if (earlier?.value) answers.earlier = { ...earlier, value: { ...earlier.value, insights: renew(earlier.value.insights) } };
	if (open?.value?.insight) answers.open = { ...open, value: { ...open.value, insight: renewed(open.value.conversation_id, open.value.insight) } };
	return { ...state, answers, held: state.held && { ...state.held, rows: renew(state.held.rows) } };
}

const CHANGES = {
	loaded: (state, name, module) => ({ ...state, loaded: { ...state.loaded, [name]: module } }),
	looked: (state, moment) => ({ ...state, looked: moment }),
	drawn: (state, from, height) => ({ ...state, drawn: { from, height } }),
	near: (state, id) => ({ ...state, near: id }),
	tick: (state, now, minute) => ({ ...state, now, minute, done: state.done?.until > now ? state.done : null }),

	// A part of the view; the whole of it as an address has it; a filter taken away.
	see: (state, patch) => see(state, readView(searchOf(changedView(state.view, patch)))),
	went: (state, search) => see(state, readView(search)),
	clear: (state) => see(state, readView(searchOf({ ...state.view, ...NO_FILTER }))),

	type: (state, field, text) => ({ ...state, typed: { ...state.typed, [field]: text }, pick: -1, typing: field === "search" || state.typing }),
	typing: (state, typing) => (typing === state.typing ? state : { ...state, typing, pick: -1 }),
	pick: (state, index) => ({ ...state, pick: index }),
	menu: (state, name) => ({ ...state, menu: state.menu === name ? null : name }),
	sheet: (state, name) => ({ ...state, sheet: name }),
	table: (state, name, open) => ({ ...state, tables: { ...state.tables, [name]: open } }),
	point: (state, chart) => ({ ...state, chart }),
	live: (state, live) => ({ ...state, live }),
	pause: (state) => ({ ...state, paused: !state.paused }),
	theme: (state, theme) => ({ ...state, theme }),
	keys: (state, keys) => ({ ...state, keys }),
	notices: (state, notices) => ({ ...state, notices }),
	askForKey: (state, why) => ({ ...state, askedForKey: why }),
	note: (state, place, text, bad = false) => ({ ...state, notes: { ...state.notes, [place]: text && { text, bad } } }),
	askTime: (state, id) => ({ ...state, sheet: "snooze", snoozing: id }),
	editing: (state, id) => ({ ...state, editing: id }),
	askName: (state, waiting) => ({ ...state, sheet: "name", waiting }),
	named: (state, me) => ({ ...state, me, sheet: null, waiting: null }),
	did: (state, done) => ({ ...state, done }),
	draft: (state, patch) => ({ ...state, draft: patch && { ...state.draft, ...patch } }),
	form: (state, name, patch) => ({ ...state, forms: { ...state.forms, [name]: patch && { ...state.forms[name], ...patch } } }),
	told: (state, what, result) => ({ ...state, told: { ...state.told, [what]: result } }),
	// Posts as they are now, in the list's shape, by id; one of them; who handles one.
	items: withItems,
	item: (state, item) => withItems(state, new Map([[item.conversation_id, item]])),
	handled: (state, id, handling) => withItems(state, new Map([[id, { handling }]])),
	heard: (state, text) => ({ ...state, heard: text }),
	moreFailed: (state) => ({ ...state, failedShown: Math.min(1000, 4 * state.failedShown) }),

	answered(state, part, key, value, urls, calm = true) {
		const before = state.answers[part];
		const set = (value) => ({ ...state, answers: { ...state.answers, [part]: { key, value, urls } } });
		if (part !== "list" || before?.key !== key || !before.value) return part === "list" ? { ...set(value), held: null } : set(value);
		const { mergeLists, newRows, sameRows, keepMine } = state.loaded.lists ?? {};
		if (!mergeLists) return state; // the next time
		let merged = mergeLists(before.value, value);
		if (value.order === "priority") merged = keepMine(before.value, merged, state.me);
		const fresh = newRows(before.value, merged);
		// What is answered stays under a hand that is on the list, as what it is now.
		if (calm || (!fresh && value.order !== "priority")) return { ...set(merged), held: null };
		return { ...set(sameRows(before.value, merged)), held: fresh ? { ...merged, fresh } : null };
	},
	failed: (state, part, key, problem) => {
		const before = state.answers[part];
		const erased = problem.status === 404 && /open|near/.test(part);
		return { ...state, answers: { ...state.answers, [part]: { ...(!erased && before?.key === key && before), key, problem } } };
	},
	// An answer of before, to be shown until the new one is there.
	kept: (state, part, answer) => ({ ...state, answers: { ...state.answers, [part]: answer } }),

	more(state, key, page) {
		const list = state.answers.list;
		if (list?.key !== key) return state;
		const known = new Set(list.value.rows.map((row) => row.conversation_id));
		const value = { ...list.value, rows: [...list.value.rows, ...page.rows.filter((row) => !known.has(row.conversation_id))], cursor: page.cursor };
		return { ...state, answers: { ...state.answers, list: { ...list, value } } };
	},
	showHeld: (state) => (state.held ? { ...state, held: null, answers: { ...state.answers, list: { ...state.answers.list, value: state.held } } } : state),
};
