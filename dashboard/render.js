// A page drawn from plain values. `h` describes elements, `mount` brings a part of the document to
// what is described: nodes that stay keep their focus, selection and scroll.
//
// Strings become text nodes, whatever is in them: there is no way from a text to an element.

class Element {
	constructor(tag, props, children) {
		Object.assign(this, { tag, props, children, key: props.key });
	}
}

// A part that is described anew only when its arguments change.
class Lazy {
	content;
	dom;
	describe;
	args;

	constructor(key, describe, args) {
		Object.assign(this, { key, describe, args });
	}
}

class Text {
	dom;

	constructor(text) {
		this.text = text;
	}
}

// `h("p.small", { title, on: { click: ["open", id] } }, child, ...)`. null, undefined and booleans
// are left out. In `on` is what is sent, or a function of the event that gives it; `made` is called
// with the element when it is new and in the document.
export function h(name, ...parts) {
	const [tag, ...classes] = name.split(".");
	const props = classes.length ? { class: classes.join(" ") } : {};
	const children = [];
	const add = (part) => {
		if (part === null || part === undefined || typeof part === "boolean") return;
		if (Array.isArray(part)) part.forEach(add);
		else if (part instanceof Element || part instanceof Lazy) children.push(part);
		else if (typeof part !== "object") children.push(new Text(String(part)));
		else for (const [key, value] of Object.entries(part)) {
			props[key] = key === "class" && props.class ? `${props.class} ${value}` : value;
		}
	};
	parts.forEach(add);
	return new Element(tag, props, children);
}

// `describe(...args)`, anew only when one of `args` is another than before.
export const lazy = (key, describe, ...args) => new Lazy(key, describe, args);

const SVG = "http://www.w3.org/2000/svg";
const LIVE = new Set(["value", "checked", "disabled"]); // what a reader changes is not in the attribute
const OWN = new Set(["key", "on", "made"]);
const EDITS = new Set(["input", "change", "toggle"]);
const HANDLERS = Symbol("handlers");

// Draws into `place`, and sends what handlers give, with the event. `settle` draws what is not drawn
// yet: a handler is to be of the state that there is, not of the frame before.
export function mount(place, send, settle = () => {}) {
	const listener = {
		handleEvent(event) {
			if (!EDITS.has(event.type)) settle(); // an edit is ahead of the state, and would be undone
			const handler = event.currentTarget[HANDLERS]?.[event.type];
			const message = typeof handler === "function" ? handler(event) : handler;
			if (message) send(message, event);
		},
	};
	let drawn = [];
	return (tree) => {
		const children = [tree].flat().filter(Boolean);
		/** @type {any} */
		const focused = place.contains(document.activeElement) ? document.activeElement : null;
		patchChildren(place, drawn, children, listener, false);
		drawn = children;
		if (focused?.isConnected && document.activeElement !== focused) focused.focus({ preventScroll: true });
		for (const { dom, props } of born.splice(0)) props.made(dom);
	};
}

const born = []; // whose `made` is called with the element once it is in the document
const sameArgs = (a, b) => a.describe === b.describe && a.args.length === b.args.length && a.args.every((arg, i) => arg === b.args[i]);

// What is without a key is known by its kind and its place among those of the kind.
function nameAll(nodes) {
	const counts = {};
	for (const node of nodes) {
		if (node.key !== undefined) node.name = `${node.key}`;
		else {
			const kind = node.tag ?? (node instanceof Lazy ? "(lazy)" : "(text)");
			counts[kind] = (counts[kind] ?? 0) + 1;
			node.name = ` ${kind} ${counts[kind]}`;
		}
	}
}

function patchChildren(parent, before, after, listener, inSvg) {
	nameAll(after);
	const known = new Map(before.map((node) => [node.name, node]));
	const pairs = after.map((node) => {
		const old = known.get(node.name);
		const fits = old && old.constructor === node.constructor && (node instanceof Lazy || old.tag === node.tag);
		if (fits) known.delete(node.name);
		return [node, fits ? old : null];
	});
	for (const gone of known.values()) gone.dom.remove();
	let place = parent.firstChild;
	for (const [node, old] of pairs) {
		if (old) patch(node, old, listener, inSvg);
		else create(node, listener, inSvg);
		if (node.dom === place) place = place.nextSibling;
		else parent.insertBefore(node.dom, place);
	}
}

function create(node, listener, inSvg) {
	if (node instanceof Text) node.dom = document.createTextNode(node.text);
	else if (node instanceof Lazy) {
		node.content = node.describe(...node.args);
		create(node.content, listener, inSvg);
		node.dom = node.content.dom;
	} else {
		const svg = inSvg || node.tag === "svg";
		node.dom = svg ? document.createElementNS(SVG, node.tag) : document.createElement(node.tag);
		patchChildren(node.dom, [], node.children, listener, svg);
		patchProps(node.dom, {}, node.props, listener); // after the children: a select's value is one of them
		if (node.props.made) born.push(node);
	}
}

function patch(node, old, listener, inSvg) {
	node.dom = old.dom;
	if (node === old) return;
	if (node instanceof Text) {
		if (node.text !== old.text) node.dom.data = node.text;
	} else if (node instanceof Lazy) {
		if (sameArgs(node, old)) {
			node.content = old.content;
			return;
		}
		node.content = node.describe(...node.args);
		if (node.content.tag === old.content.tag) patch(node.content, old.content, listener, inSvg);
		else {
			create(node.content, listener, inSvg);
			old.dom.replaceWith(node.content.dom);
		}
		node.dom = node.content.dom;
	} else {
		patchChildren(node.dom, old.children, node.children, listener, inSvg || node.tag === "svg");
		patchProps(node.dom, old.props, node.props, listener);
	}
}

function patchProps(dom, before, after, listener) {
	for (const name in before) if (!(name in after) && !OWN.has(name)) setProp(dom, name, null);
	for (const name in after) {
		if (OWN.has(name)) continue;
		if (LIVE.has(name) ? dom[name] !== after[name] : before[name] !== after[name]) setProp(dom, name, after[name]);
	}
	for (const type in before.on) if (!after.on?.[type]) dom.removeEventListener(type, listener);
	for (const type in after.on) if (!before.on?.[type]) dom.addEventListener(type, listener);
	if (after.on || before.on) dom[HANDLERS] = after.on;
}

function setProp(dom, name, value) {
	if (LIVE.has(name)) dom[name] = value ?? "";
	else if (value === null || value === undefined || value === false) dom.removeAttribute(name);
	else dom.setAttribute(name, value === true ? "" : value);
}
