// Asks for an API key. There is no way around it: without one nothing can be shown.

import { $, say } from "./elements.js";

export function askForKey(why) {
	const dialog = $("key-dialog");
	say($("key-why"), why);
	$("key").value = "";
	dialog.oncancel = (event) => event.preventDefault();
	dialog.showModal();
	return new Promise((resolve) => {
		dialog.onsubmit = (event) => {
			event.preventDefault();
			dialog.close();
			resolve($("key").value.trim());
		};
	});
}
