// Elements, made and renewed. Whatever is shown of a text becomes a text node.

export const $ = (id) => document.getElementById(id);

// `el("p.small", {title, click: listen}, child, ...)`; null, undefined and false are left out.
export const el = (name, ...parts) => make((tag) => document.createElement(tag), name, parts);
export const svg = (name, ...parts) =>
	make((tag) => document.createElementNS("http://www.w3.org/2000/svg", tag), name, parts);

const there = (value) => (value ?? false) !== false;

function make(create, name, parts) {
	const [tag, ...classes] = name.split(".");
	const element = create(tag);
	if (classes.length) element.setAttribute("class", classes.join(" "));
	for (const part of parts.filter(there)) {
		if (part.constructor !== Object) element.append(part);
		else for (const [key, value] of Object.entries(part)) {
			if (typeof value === "function") element.addEventListener(key, value);
			else if (there(value)) element.setAttribute(key, value);
		}
	}
	return element;
}

// Changes a text only if it differs, so that nothing is announced for nothing.
export function say(element, text) {
	if (element.textContent !== text) element.textContent = text;
}

// One child for each item, kept while its key is there: focus and what is open stay.
export function keyed(parent, items, keyOf, make, update) {
	const focused = parent.contains(document.activeElement) && document.activeElement;
	const known = new Map([...parent.children].map((child) => [child.dataset.key, child]));
	let place = parent.firstElementChild;
	for (const item of items) {
		const key = keyOf(item);
		const child = known.get(key) ?? make(item);
		known.delete(key);
		child.dataset.key = key;
		update?.(child, item);
		if (child === place) place = place.nextElementSibling;
		else parent.insertBefore(child, place);
	}
	for (const child of known.values()) child.remove();
	if (focused?.isConnected) focused.focus({ preventScroll: true });
}
