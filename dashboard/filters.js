// The controls, bound to the view by name.

import { NO_FILTER, isFiltered, ownRange } from "./address.js";
import { $, el, say } from "./elements.js";
import { percent } from "./words.js";

const form = $("view");
let period;

export function startFilters(change) {
	for (const set of document.querySelectorAll("[data-choices]")) {
		for (const choice of set.dataset.choices.split("|")) {
			const [value, name] = choice.split("=");
			set.append(el("label", el("input", { type: "radio", name: set.name, value, form: "view" }), el("span", name)));
		}
	}
	const take = ({ target }) => target.form === form && change(changed(target));
	for (const event of ["change", "search"]) document.addEventListener(event, take);
	form.onsubmit = (event) => event.preventDefault();
	form.min_confidence.oninput = ({ target }) => tellConfidence(target.value);
	$("clear").onclick = () => change(NO_FILTER);
}

function changed({ name, value }) {
	if (!name) return changedTimes();
	if (name !== "range") return { [name]: value.trim() };
	return value === "own" ? ownRange(period.start, period.end) : { range: value, start_time: "", end_time: "" };
}

function changedTimes() {
	const [start, end] = ["from", "to"].map((id) => new Date($(id).value).getTime()).sort((a, b) => a - b);
	return start <= end ? ownRange(start, end) : {};
}

export function showFilters(view, now) {
	period = now;
	const shown = { ...view, min_confidence: view.min_confidence || 0 };
	for (const control of form.elements) {
		if (control.type === "radio") control.checked = shown[control.name] === control.value;
		else if (control.name in shown) control.value = shown[control.name];
	}
	tellConfidence(view.min_confidence);
	$("own").hidden = view.range !== "own";
	$("from").value = local(period.start);
	$("to").value = local(period.end);
	$("clear").hidden = !isFiltered(view);
	$("search-note").hidden = !view.q;
}

function tellConfidence(value) {
	say($("confidence"), Number(value) ? `at least ${percent(value)}` : "any");
}

function local(moment) {
	const shifted = moment - new Date(moment).getTimezoneOffset() * 60_000;
	return new Date(shifted).toISOString().slice(0, 19);
}
