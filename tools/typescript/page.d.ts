// What the page makes of the API's answers (`Api`, see `from_openapi.py`).

interface Period {
	start: number;
	end: number;
	interval: Api.Interval;
	name: string;
	moves: boolean;
	whole: boolean;
}
type Summary = Api.SummaryOut & { period: Period };
interface List {
	rows: Api.InsightOut[];
	cursor: string | null;
	total: number;
	order: "newest" | "priority";
	missed: number; // open ones that are older than what is to be answered
	period: Period;
}
interface Handling {
	state: "open" | "claimed" | "answered" | "snoozed" | "ignored";
	by: string | null;
	until: string | null;
	at: string | null;
}

// The answer to each question of `questions.js`, by its part.
interface Parts {
	stats: Api.Stats;
	trends: Api.TrendsOut;
	extent: { total: number; newest?: number; oldest?: number; left?: number };
	summary: Summary;
	before: Summary;
	topics: Summary;
	topicsBefore: Summary;
	list: List;
	open: Api.ConversationOut;
	near: Api.ConversationOut;
	earlier: Api.InsightsOut;
	queue: Api.InsightsOut;
	hour: Api.InsightsOut;
	rules: Api.RulesOut;
	bell: Api.AlertsOut;
	alerts: Api.AlertsOut;
	alertRules: Api.AlertRulesOut;
	endpoints: Api.EndpointsOut;
	plans: Api.PlansOut;
	plan: Api.PlanOut;
	people: Api.AuthorsOut;
	authors: Api.AuthorsOut;
	person: Api.AuthorsOut;
	failed: Api.FailedOut;
}
interface Answer<Value> {
	value?: Value;
	stale: boolean;
	loading?: boolean;
	problem?: { text: string; status?: number; mends: boolean };
	key?: string;
	urls?: string[];
}

type Get = <Path extends string>(path: Path, parameters?: object) => Promise<Api.Answer<Path>>;
type Want = <Part extends keyof Parts>(
	part: Part, key: unknown[], least: number, most: number, ask: (get: Get, now: number) => Promise<Parts[Part]>,
) => void;
