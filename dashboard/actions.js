// What readers do beyond looking. Each gets the page's `{ state, send, loader }` and what the event
// holds.

import { ownRange, searchOf } from "./address.js";
import { post } from "./api.js";
import { plural } from "./format.js";
import { periodOf } from "./periods.js";

export async function askForNotices({ send }) {
	send(["notices", await Notification.requestPermission()]);
}

// Of a "post", of the "moving" view, or of it "fixed" to the time that is shown.
export async function copyLink({ state, send }, kind) {
	const { start, end } = periodOf(state.view, Date.now(), state.answers.extent?.value);
	const view = { ...state.view, ...(kind === "fixed" && ownRange(start, end)) };
	const address = location.origin + location.pathname + searchOf(view);
	const copied = await navigator.clipboard?.writeText(address).then(() => true, () => false);
	send(["note", kind === "post" ? "post" : "list", copied ? "The link is copied." : address]);
	if (kind !== "post") send(["menu", null]);
}

export async function retry({ send, loader }, id) {
	const path = id === "all" ? "conversations/retry" : `conversations/${id}/retry`;
	try {
		const { retried = 1 } = await post(path);
		send(["note", "retry", `${plural(retried, "post")} back in the queue.`]);
	} catch (problem) {
		if (problem.status === 403) send(["readOnly"]);
		send(["note", "retry", problem.status === 404 ? "That post has been erased meanwhile." : problem.message, true]);
	}
	loader.renew("failed");
	loader.renew("stats");
	document.getElementById("failed-title")?.focus();
}
