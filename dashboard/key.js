// Asks for an API key. The page is of no use without one, so there is no way around it.

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
