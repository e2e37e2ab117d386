// What the renderer is held to, for `tests/process/test_process_dashboard_render.py`, which runs it in a page.

async (name, start) => {
	const { h, lazy, mount } = await import(new URL("dashboard/render.js", document.baseURI));
	let seed = start;
	const random = (n) => (seed = (seed * 1103515245 + 12345) % 2147483648) % n;
	const some = (values) => values[random(values.length)];
	const texts = ["", "a", "<b>not bold</b>", "&amp;", "\u202e", "{{x}}", "0"];
	const aPlace = () => document.body.appendChild(document.createElement("div"));

	// A random tree: elements with and without keys, texts, lazy parts, attributes that come and go.
	function tree(depth) {
		const children = [];
		const keys = new Set();
		for (let n = random(6); n > 0; n--) {
			if (!depth || random(3) === 0) {
				children.push(some([...texts, null, false, 7]));
				continue;
			}
			const key = random(2) ? random(8) : undefined;
			if (keys.has(key)) continue;
			if (key !== undefined) keys.add(key);
			if (random(4) === 0 && key !== undefined) {
				children.push(lazy(key, (word) => h(word === "a" ? "i" : "u", { title: word }, word), some(texts)));
				continue;
			}
			const props = { key, title: random(2) ? some(texts) : null, hidden: random(2) === 0, on: random(2) ? { click: ["x", key] } : undefined };
			children.push(h(some(["p", "div", "span.x", "svg", "button.y.z"]), props, tree(depth - 1)));
		}
		return children;
	}

	const checks = {
		// The first step at which a patch gave something else, and what; null where none did.
		patches() {
			const place = document.createElement("div");
			const draw = mount(place, () => {});
			for (let step = 0; step < 40; step++) {
				const before = seed;
				draw(h("main", tree(3)));
				seed = before;
				const fresh = document.createElement("div");
				mount(fresh, () => {})(h("main", tree(3)));
				if (!place.isEqualNode(fresh)) return [step, place.innerHTML, fresh.innerHTML];
			}
			return null;
		},
		// Whether a focused node stays the same node, focused and in its place, in each of some orders.
		focus() {
			const place = aPlace();
			const draw = mount(place, () => {});
			const inputs = () => [...place.querySelectorAll("input")];
			const list = (keys) => h("ul", keys.map((key) => h("li", { key }, h("input", { value: key }))));
			draw(list([1, 2, 3, 4, 5]));
			const kept = inputs()[2];
			kept.focus();
			const found = [[9, 1, 2, 3, 4, 5], [3, 1], [1, 5, 3], [5, 4, 3, 2, 1], [8, 7, 3]].map((keys) => {
				draw(list(keys));
				return inputs()[keys.indexOf(3)] === kept && document.activeElement === kept && String(inputs().map(({ value }) => value)) === String(keys);
			});
			place.remove();
			return found;
		},
		// How often a new element that asks for the focus got it, however deep, of two drawings.
		made() {
			const place = aPlace();
			const draw = mount(place, () => {});
			let got = 0;
			const made = (input) => {
				input.focus();
				got += Number(document.activeElement === input);
			};
			for (let n = 0; n < 2; n++) draw(h("div", h("p", h("input", { made }))));
			place.remove();
			return got;
		},
		// What was sent; how many elements a hostile text made; whether it is there as it is; whether it ran.
		texts() {
			const sent = [];
			const place = document.createElement("div");
			const draw = mount(place, (message) => sent.push(message[0]));
			const hostile = "<img src=x onerror='window.hacked = 1'><script>window.hacked = 1</script>";
			const click = (on) => {
				draw(h("p", { title: hostile, on }, hostile));
				place.firstChild.click();
			};
			click({ click: ["first"] });
			click({ click: () => ["second"] });
			click(undefined);
			return [sent, place.querySelectorAll("*").length, place.textContent === hostile, "hacked" in window];
		},
		// How many rows are described again, and how many changes the document sees, for one row of 500;
		// and how long that takes, in milliseconds: the median, the 95th percentile, and that of drawing
		// all 500 from scratch.
		async oneOfMany() {
			const place = aPlace();
			const draw = mount(place, () => {});
			let described = 0;
			const row = (text) => (described++, h("li", h("p", text), h("div", h("b", text), h("time", "x"))));
			const rows = Array.from({ length: 500 }, (_, n) => ({ id: n, text: `row ${n}` }));
			const list = () => draw(h("ol", rows.map(({ id, text }) => lazy(id, row, text))));
			list();
			let changes = 0;
			new MutationObserver((all) => (changes += all.length)).observe(place, { subtree: true, childList: true, characterData: true });
			described = 0;
			rows[250] = { id: 250, text: "another" };
			list();
			await Promise.resolve();
			const counts = [described, changes];
			const times = Array.from({ length: 200 }, (_, n) => {
				rows[n] = { id: n, text: `again ${n}` };
				const began = performance.now();
				list();
				return performance.now() - began;
			}).sort((a, b) => a - b);
			const fromScratch = Array.from({ length: 11 }, () => {
				const fresh = aPlace();
				const began = performance.now();
				mount(fresh, () => {})(h("ol", rows.map(({ id, text }) => lazy(id, row, text))));
				const took = performance.now() - began;
				fresh.remove();
				return took;
			}).sort((a, b) => a - b);
			place.remove();
			return [counts, times[100], times[190], fromScratch[5]];
		},
	};
	return checks[name]();
};
