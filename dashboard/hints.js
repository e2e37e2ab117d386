// What figures are, and what they are from: shown on hover and on focus.

export const HINTS = {
	Posts: "Posts of this time that are analysed and fit the filters.",
	"▼ Negative": "Judged to be below -0.1, on a scale from -1 (very unhappy) to 1 (very happy).",
	"● Neutral": "Judged to be between -0.1 and 0.1, on a scale from -1 to 1.",
	"▲ Positive": "Judged to be above 0.1, on a scale from -1 (very unhappy) to 1 (very happy).",
	"Mood on average": "The mean of all moods, from -1 (very unhappy) to 1 (very happy). Not judged: a mean says little of how many.",
	Topics: "How many posts of the time are about each topic, and how many more or fewer than in the time it is compared with. A post can have several.",
	"Share of negative posts": "How many of the posts are negative, on a scale of its own. A point has 20 posts or more: bars with fewer are taken together.",
	"Who complains most": "Those with most negative posts in this time, whatever the other filters.",
	"Unusual in the last hour": "Topics whose number of posts in the last hour stands out against the 24 hours before by more than chance, whatever the time and filters above.",
	Certain: "How sure whoever judged was of it, by its own word.",
};
