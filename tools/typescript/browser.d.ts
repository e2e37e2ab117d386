// What TypeScript does not know of the page's surroundings: its elements are all HTML, events come
// from elements, and some interfaces are newer than its library.

interface ParentNode {
	querySelectorAll(selectors: string): NodeListOf<HTMLElement>;
}
interface EventTarget {
	closest?(selectors: string): HTMLAnchorElement | null;
}
interface Window {
	trustedTypes?: { createPolicy(name: string, rules: { createScriptURL(text: string): string }): { createScriptURL(text: string): string } };
	onconnect: (event: MessageEvent) => void;
}
