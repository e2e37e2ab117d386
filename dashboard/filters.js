/** The controls, bound to the view by their names. */

import { NO_FILTER, isFiltered, ownRange } from "./address.js";
import { $, el, say } from "./elements.js";
import { percent } from "./words.js";

export class Filters {
	/** `onChange` gets a change of the view. */
	constructor(onChange) {
		Object.assign(this, { onChange, form: $("view") });
		for (const set of document.querySelectorAll("[data-choices]")) {
			for (const choice of set.dataset.choices.split("|")) {
				const [value, name] = choice.split("=");
				set.append(el("label", el("input", { type: "radio", name: set.name, value, form: "view" }), el("span", name)));
			}
		}
		const take = ({ target }) => target.form === this.form && this.#take(target);
		for (const event of ["change", "search"]) document.addEventListener(event, take);
		this.form.addEventListener("submit", (event) => event.preventDefault());
		this.form.min_confidence.addEventListener("input", ({ target }) => this.#tellConfidence(target.value));
		$("clear").addEventListener("click", () => onChange(NO_FILTER));
	}

	#take({ name, value }) {
		if (!name) this.#takeOwn();
		else if (name !== "range") this.onChange({ [name]: value.trim() });
		else if (value === "own") this.onChange(ownRange(this.period.start, this.period.end));
		else this.onChange({ range: value, start_time: "", end_time: "" });
	}

	#takeOwn() {
		const [start, end] = ["from", "to"].map((id) => new Date($(id).value).getTime());
		$("to").setCustomValidity(start > end ? "This is before the start." : "");
		if ($("to").reportValidity() && start <= end) this.onChange(ownRange(start, end));
	}

	show(view, period) {
		this.period = period;
		for (const [name, value] of Object.entries({ ...view, min_confidence: view.min_confidence || 0 })) {
			if (this.form[name]) this.form[name].value = value;
		}
		this.#tellConfidence(view.min_confidence);
		$("own").hidden = view.range !== "own";
		$("from").value = local(period.start);
		$("to").value = local(period.end);
		$("clear").hidden = !isFiltered(view);
		$("search-note").hidden = !view.q;
	}

	#tellConfidence(value) {
		say($("confidence"), Number(value) ? `at least ${percent(value)}` : "any");
	}
}

/** As a datetime-local input wants it. */
function local(moment) {
	const shifted = moment - new Date(moment).getTimezoneOffset() * 60_000;
	return new Date(shifted).toISOString().slice(0, 19);
}
