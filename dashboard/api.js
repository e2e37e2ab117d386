// The public API. A key, where one is needed, is kept for this tab's session.

const KEY = "insights-api-key";

// Wherever a proxy has put the service: the API is beside the folder that this file is in.
const ROOT = new URL("..", import.meta.url);
export const API = `${ROOT.pathname}api/v1/`;
export const serviceAddress = ROOT.href.slice(0, -1);
export const currentKey = () => sessionStorage.getItem(KEY);

// Asks the reader for a key, and gives it: the page's to set.
let askForKey;
export const onKeyNeeded = (ask) => (askForKey = ask);

// In a sentence for people. `status` is 0 where nothing answered.
function problem(status, details, retryAfter) {
	let said = details?.replace?.(/^filter\./, "").replace(/^q: must/, "The search must").replace(/^q:/, "The search:") ?? `The service answered ${status}.`;
	if (status >= 500 && !details) said = "Something on the way to the service is out of order.";
	return Object.assign(new Error(said), { status, retryAfter });
}

export function urlOf(path, parameters = {}) {
	const given = Object.entries(parameters).filter(([, value]) => value !== "" && value !== null && value !== undefined);
	return `${API}${path}${given.length ? `?${new URLSearchParams(given)}` : ""}`;
}

// A response that is fine; else raises a problem. Waits where there is too much to do.
export async function open(url, { headers, ...options } = /** @type {RequestInit} */ ({})) {
	for (;;) {
		const key = currentKey();
		const credentials = key && { Authorization: `Bearer ${key}` };
		const response = await fetch(url, { ...options, headers: { ...headers, ...credentials } }).catch(giveUp);
		if (response.ok) return response;
		const { details, retry_after } = await response.json().catch(() => ({}));
		if (response.status === 401) await renewKey(key, details);
		else if (response.status === 429) await wait((retry_after ?? 1) * 1000 * (1 + Math.random()), options.signal);
		else throw problem(response.status, details, retry_after);
	}
}

// All requests that are refused at a time wait for the same dialog.
let asking = null;
async function renewKey(refused, why) {
	if (currentKey() !== refused) return; // another has asked meanwhile
	asking ??= askForKey(why).finally(() => (asking = null));
	sessionStorage.setItem(KEY, await asking);
}

/** @returns {never} */
function giveUp(error) {
	throw error.name === "AbortError" ? error : problem(0, "The service does not answer.");
}

// Numbers that a script cannot hold, such as the ids of posts on X, stay as they are written.
const exact = (key, value, context) =>
	(Number.isInteger(value) && !Number.isSafeInteger(value) && context?.source) || value;

export async function ask(url, options) {
	const text = await (await open(url, options)).text().catch(giveUp);
	return text && JSON.parse(text, /\d{16}/.test(text) ? exact : undefined);
}
export function wait(milliseconds, signal) {
	return new Promise((resolve, reject) => {
		setTimeout(resolve, milliseconds);
		signal?.addEventListener("abort", () => reject(signal.reason), { once: true });
	});
}
