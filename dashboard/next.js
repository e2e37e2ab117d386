// What is needed once the first sight stands, in one file: see `page.js`.

export * as actions from "./actions.js";
export * as hints from "./hints.js";
export * as keys from "./keys.js";
export * as lists from "./lists.js";
export * as live from "./live.js";
export * as more from "./more.js";
export * as open from "./open.js";
export * as original from "./original.js";
export * as places from "./places.js";
export * as pointing from "./pointing.js";
export * as search from "./search.js";
export * as suggest from "./suggest.js";
export * as work from "./work.js";
