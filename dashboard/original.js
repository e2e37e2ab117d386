// Where a post was written. Pure.

// An address in what came with it, or the X post of its id and author.
export function originalOf({ raw_data: raw, author }) {
	if (!raw) return null;
	for (const name of ["url", "permalink", "link", "tweet_url", "permalink_url"]) {
		if (/^https?:\/\/[^\s]+$/i.test(raw[name] ?? "")) return { href: raw[name], id: null };
	}
	const id = [raw.id_str, raw.tweet_id, raw.id].map((value) => String(value ?? "")).find((value) => /^\d{5,20}$/.test(value));
	const x = "tweet_id" in raw || "id_str" in raw || "in_response_to_tweet_id" in raw || "tweet_created" in raw || "public_metrics" in raw;
	if (!id || !x || !/^\w{1,15}$/.test(author ?? "")) return null;
	return { href: `https://x.com/${author}/status/${id}`, reply: `https://x.com/intent/post?in_reply_to=${id}` };
}
