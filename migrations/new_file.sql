CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
)
--
CREATE TABLE conversations (
	id VARCHAR(13) NOT NULL, 
	text TEXT NOT NULL, 
	author TEXT, 
	timestamp BIGINT NOT NULL, 
	raw_data JSON, 
	status VARCHAR(10) NOT NULL, 
	created_at BIGINT NOT NULL, 
	lane VARCHAR(4) NOT NULL, 
	attempts INTEGER DEFAULT '0' NOT NULL, 
	deaths INTEGER DEFAULT '0' NOT NULL, 
	not_before BIGINT DEFAULT '0' NOT NULL, 
	lease_token VARCHAR(32), 
	leased_until BIGINT, 
	last_error TEXT, 
	idempotency_key VARCHAR(255), 
	body_hash VARCHAR(64), alone BOOLEAN DEFAULT 0 NOT NULL, key_owner TEXT DEFAULT '' NOT NULL, own SMALLINT DEFAULT '0' NOT NULL, followers BIGINT, 
	PRIMARY KEY (id), 
	CONSTRAINT conv_status CHECK (status in ('pending','processing','completed','failed')), 
	CONSTRAINT conv_lane CHECK (lane in ('live','bulk'))
)
--
CREATE TABLE insights (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	conversation_id VARCHAR(13) NOT NULL, 
	timestamp BIGINT NOT NULL, 
	text TEXT NOT NULL, 
	author TEXT, 
	sentiment_score DOUBLE NOT NULL, 
	clusters JSON NOT NULL, 
	confidence DOUBLE NOT NULL, 
	reasoning TEXT NOT NULL, 
	grok_analysis JSON NOT NULL, 
	cost_usd_ticks BIGINT DEFAULT '0' NOT NULL, 
	created_at BIGINT NOT NULL, fingerprint VARCHAR(32), notes JSON, sentiment SMALLINT GENERATED ALWAYS AS (CASE WHEN sentiment_score > 0.1 THEN 1 WHEN sentiment_score < -0.1 THEN -1 ELSE 0 END) VIRTUAL, version INTEGER DEFAULT '1' NOT NULL, language VARCHAR(3) DEFAULT 'und' NOT NULL, urgency VARCHAR(4) DEFAULT 'none' NOT NULL, labelled VARCHAR(6) DEFAULT 'model' NOT NULL, label JSON, model_sentiment_score DOUBLE, model_clusters JSON, model_confidence DOUBLE, own SMALLINT DEFAULT '0' NOT NULL, handling VARCHAR(8) DEFAULT 'open' NOT NULL, handling_by TEXT, handling_at BIGINT, handling_until BIGINT, repeats SMALLINT DEFAULT '0' NOT NULL, reach DOUBLE DEFAULT '0' NOT NULL, rising SMALLINT DEFAULT '0' NOT NULL, priority BIGINT, 
	FOREIGN KEY(conversation_id) REFERENCES conversations (id) ON DELETE CASCADE
)
--
CREATE UNIQUE INDEX idx_insight_conversation_id ON insights (conversation_id)
--
CREATE INDEX idx_insight_created_at ON insights (created_at)
--
CREATE INDEX idx_insight_fingerprint ON insights (fingerprint, created_at) WHERE fingerprint IS NOT NULL
--
CREATE TABLE calls (
	id INTEGER NOT NULL, 
	request_id VARCHAR(36) NOT NULL, 
	started_at BIGINT NOT NULL, 
	ended_at BIGINT, 
	conversations INTEGER NOT NULL, 
	model_asked VARCHAR(100) NOT NULL, 
	model_answered VARCHAR(100), 
	prompt_tokens BIGINT DEFAULT '0' NOT NULL, 
	cached_tokens BIGINT DEFAULT '0' NOT NULL, 
	completion_tokens BIGINT DEFAULT '0' NOT NULL, 
	cost_usd_ticks BIGINT DEFAULT '0' NOT NULL, 
	held_usd_ticks BIGINT DEFAULT '0' NOT NULL, 
	outcome VARCHAR(16) NOT NULL, 
	PRIMARY KEY (id)
)
--
CREATE INDEX idx_call_started_at ON calls (started_at)
--
CREATE INDEX idx_call_under_way ON calls (id) WHERE outcome = 'under_way'
--
CREATE TABLE daily_usage (
	day INTEGER NOT NULL, 
	calls BIGINT DEFAULT '0' NOT NULL, 
	conversations BIGINT DEFAULT '0' NOT NULL, 
	reused BIGINT DEFAULT '0' NOT NULL, 
	prompt_tokens BIGINT DEFAULT '0' NOT NULL, 
	cached_tokens BIGINT DEFAULT '0' NOT NULL, 
	completion_tokens BIGINT DEFAULT '0' NOT NULL, 
	cost_usd_ticks BIGINT DEFAULT '0' NOT NULL, 
	held_usd_ticks BIGINT DEFAULT '0' NOT NULL, 
	PRIMARY KEY (day)
)
--
CREATE TABLE insight_clusters (
	cluster VARCHAR(64) NOT NULL, 
	timestamp BIGINT NOT NULL, 
	insight_id INTEGER NOT NULL, 
	sentiment_score DOUBLE NOT NULL, 
	confidence DOUBLE NOT NULL, 
	CONSTRAINT pk_insight_clusters PRIMARY KEY (cluster, timestamp, insight_id), 
	CONSTRAINT fk_cluster_insight_id FOREIGN KEY(insight_id) REFERENCES insights (id) ON DELETE CASCADE
)
 WITHOUT ROWID


--
CREATE INDEX idx_cluster_insight_id ON insight_clusters (insight_id)
--
CREATE TABLE "insight_rollups" (
	name VARCHAR(64) NOT NULL, 
	grain SMALLINT NOT NULL, 
	bucket BIGINT NOT NULL, 
	confidence_bin SMALLINT NOT NULL, 
	positive INTEGER NOT NULL, 
	positive_score BIGINT NOT NULL, 
	positive_confidence BIGINT NOT NULL, 
	neutral INTEGER NOT NULL, 
	neutral_score BIGINT NOT NULL, 
	neutral_confidence BIGINT NOT NULL, 
	negative INTEGER NOT NULL, 
	negative_score BIGINT NOT NULL, 
	negative_confidence BIGINT NOT NULL, 
	PRIMARY KEY (name, grain, bucket, confidence_bin)
)
 WITHOUT ROWID


--
CREATE TABLE words_to_sweep (id INTEGER PRIMARY KEY, in_round INTEGER NOT NULL DEFAULT 0)
--
CREATE VIRTUAL TABLE insight_terms USING fts5(terms, content='', columnsize=0, tokenize='ascii')
--
CREATE TABLE insight_days (
	day INTEGER NOT NULL, 
	changes BIGINT NOT NULL, 
	PRIMARY KEY (day)
)
--
CREATE TABLE derived_data (
	version INTEGER NOT NULL, 
	PRIMARY KEY (version)
)
--
CREATE UNIQUE INDEX idx_conv_idempotency_key ON conversations (idempotency_key, key_owner) WHERE idempotency_key IS NOT NULL
--
CREATE TABLE status_counts (
	status VARCHAR(10) NOT NULL, 
	lane VARCHAR(4) NOT NULL, 
	part SMALLINT NOT NULL, 
	count BIGINT NOT NULL, 
	PRIMARY KEY (status, lane, part)
)
 WITHOUT ROWID


--
CREATE TRIGGER count_inserted AFTER INSERT ON conversations BEGIN INSERT INTO status_counts (status, lane, part, count) VALUES (new.status, new.lane, 0, 1) ON CONFLICT (status, lane, part) DO UPDATE SET count = count + 1; END
--
CREATE TRIGGER count_changed AFTER UPDATE OF status, lane ON conversations BEGIN UPDATE status_counts SET count = count - 1 WHERE status = old.status AND lane = old.lane AND part = 0;INSERT INTO status_counts (status, lane, part, count) VALUES (new.status, new.lane, 0, 1) ON CONFLICT (status, lane, part) DO UPDATE SET count = count + 1; END
--
CREATE TRIGGER count_deleted AFTER DELETE ON conversations BEGIN UPDATE status_counts SET count = count - 1 WHERE status = old.status AND lane = old.lane AND part = 0; END
--
CREATE INDEX idx_insight_unsure ON insights (created_at) WHERE confidence = 0
--
CREATE INDEX idx_insight_timestamp ON insights (timestamp, id, sentiment_score, confidence, language, urgency, labelled, handling) WHERE own = 0
--
CREATE INDEX idx_insight_sentiment ON insights (sentiment, confidence, timestamp, id, sentiment_score, language, urgency, labelled, handling) WHERE own = 0
--
CREATE INDEX idx_insight_priority ON insights (priority, id, timestamp, handling) WHERE priority IS NOT NULL
--
CREATE INDEX idx_insight_lease ON insights (handling_until, id) WHERE handling_until IS NOT NULL
--
CREATE INDEX idx_insight_answered ON insights (timestamp, handling_at, sentiment_score, confidence, language, urgency, labelled, own) WHERE handling = 'answered'
--
CREATE INDEX idx_insight_snoozed ON insights (author) WHERE handling = 'snoozed'
--
CREATE TABLE labels (
	conversation_id VARCHAR(13) NOT NULL, 
	giver INTEGER NOT NULL, 
	sentiment_score DOUBLE, 
	clusters JSON, 
	name TEXT NOT NULL, 
	at BIGINT NOT NULL, 
	reason TEXT, 
	PRIMARY KEY (conversation_id, giver), 
	FOREIGN KEY(conversation_id) REFERENCES conversations (id) ON DELETE CASCADE
)
 WITHOUT ROWID


--
CREATE INDEX idx_label_giver ON labels (giver, conversation_id)
--
CREATE TABLE label_log (
	id INTEGER NOT NULL, 
	conversation_id VARCHAR(13) NOT NULL, 
	at BIGINT NOT NULL, 
	"by" TEXT NOT NULL, 
	"before" JSON NOT NULL, 
	"after" JSON NOT NULL, 
	reason TEXT, 
	PRIMARY KEY (id), 
	FOREIGN KEY(conversation_id) REFERENCES conversations (id) ON DELETE CASCADE
)
--
CREATE INDEX idx_label_log_conversation_id ON label_log (conversation_id, id)
--
CREATE TABLE rules (
	number INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	id VARCHAR(13) NOT NULL, 
	name TEXT NOT NULL, 
	filter JSON NOT NULL, 
	"set" JSON NOT NULL, 
	enabled BOOLEAN DEFAULT 1 NOT NULL, 
	created_at BIGINT NOT NULL, 
	deleted_at BIGINT, 
	revision BIGINT NOT NULL
)
--
CREATE UNIQUE INDEX idx_rule_id ON rules (id)
--
CREATE INDEX idx_rule_revision ON rules (revision)
--
CREATE TABLE plans (
	id VARCHAR(13) NOT NULL, 
	kind VARCHAR(10) NOT NULL, 
	filter JSON NOT NULL, 
	"set" JSON, 
	"by" TEXT, 
	rule_number INTEGER, 
	key_name TEXT DEFAULT '' NOT NULL, 
	state VARCHAR(8) NOT NULL, 
	bound BIGINT NOT NULL, 
	matched INTEGER NOT NULL, 
	sample JSON NOT NULL, 
	warnings JSON NOT NULL, 
	created_at BIGINT NOT NULL, 
	applied_at BIGINT, 
	queued_at BIGINT, 
	position JSON, 
	done INTEGER DEFAULT '0' NOT NULL, 
	rate DOUBLE, 
	changed INTEGER DEFAULT '0' NOT NULL, 
	skipped INTEGER DEFAULT '0' NOT NULL, 
	later INTEGER DEFAULT '0' NOT NULL, 
	left_alone INTEGER DEFAULT '0' NOT NULL, 
	error TEXT, 
	lease_token VARCHAR(32), 
	leased_until BIGINT, 
	PRIMARY KEY (id)
)
--
CREATE INDEX idx_plan_state ON plans (state, queued_at)
--
CREATE INDEX idx_plan_created_at ON plans (created_at, id)
--
CREATE TABLE plan_rows (
	plan_id VARCHAR(13) NOT NULL, 
	conversation_id VARCHAR(13) NOT NULL, 
	"before" JSON, 
	"after" JSON, 
	PRIMARY KEY (plan_id, conversation_id), 
	FOREIGN KEY(plan_id) REFERENCES plans (id) ON DELETE CASCADE, 
	FOREIGN KEY(conversation_id) REFERENCES conversations (id) ON DELETE CASCADE
)
 WITHOUT ROWID


--
CREATE INDEX idx_plan_row_conversation_id ON plan_rows (conversation_id)
--
CREATE TABLE handling_log (
	id INTEGER NOT NULL, 
	conversation_id VARCHAR(13) NOT NULL, 
	at BIGINT NOT NULL, 
	state VARCHAR(8) NOT NULL, 
	"by" TEXT NOT NULL, 
	key_name TEXT NOT NULL, 
	until BIGINT, 
	note TEXT, 
	PRIMARY KEY (id), 
	FOREIGN KEY(conversation_id) REFERENCES conversations (id) ON DELETE CASCADE
)
--
CREATE INDEX idx_handling_log_conversation_id ON handling_log (conversation_id, id)
--
CREATE TABLE analysis_versions (
	version INTEGER NOT NULL, 
	analyser TEXT NOT NULL, 
	model TEXT NOT NULL, 
	prompt_version TEXT NOT NULL, 
	temperature DOUBLE, 
	clusters_mode VARCHAR(6) NOT NULL, 
	clusters JSON NOT NULL, 
	first_used BIGINT NOT NULL, 
	last_used BIGINT NOT NULL, 
	insights BIGINT DEFAULT '0' NOT NULL, 
	PRIMARY KEY (version)
)
--
CREATE TABLE applied_settings (
	name VARCHAR(32) NOT NULL, 
	value JSON NOT NULL, 
	PRIMARY KEY (name)
)
--
CREATE TABLE endpoints (
	id VARCHAR(13) NOT NULL, 
	name TEXT NOT NULL, 
	kind VARCHAR(8) NOT NULL, 
	target TEXT NOT NULL, 
	secret TEXT, 
	old_secrets JSON, 
	events JSON NOT NULL, 
	enabled BOOLEAN DEFAULT 1 NOT NULL, 
	disabled_reason TEXT, 
	failing_since BIGINT, 
	created_at BIGINT NOT NULL, asked_until BIGINT, 
	PRIMARY KEY (id)
)
--
CREATE INDEX idx_endpoint_created_at ON endpoints (created_at, id)
--
CREATE TABLE deliveries (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	endpoint_id VARCHAR(13) NOT NULL, 
	message_id VARCHAR(40) NOT NULL, 
	type VARCHAR(16) NOT NULL, 
	data JSON NOT NULL, 
	alert_id VARCHAR(13), 
	created_at BIGINT NOT NULL, 
	state VARCHAR(9) DEFAULT 'pending' NOT NULL, 
	attempts INTEGER DEFAULT '0' NOT NULL, 
	waits INTEGER DEFAULT '0' NOT NULL, 
	retries BOOLEAN DEFAULT 1 NOT NULL, 
	next_at BIGINT, 
	lease_token VARCHAR(32), 
	last_at BIGINT, 
	last_status INTEGER, 
	last_error TEXT, 
	FOREIGN KEY(endpoint_id) REFERENCES endpoints (id) ON DELETE CASCADE
)
--
CREATE UNIQUE INDEX idx_delivery_message ON deliveries (endpoint_id, message_id)
--
CREATE INDEX idx_delivery_next_at ON deliveries (endpoint_id, next_at) WHERE next_at IS NOT NULL
--
CREATE INDEX idx_delivery_endpoint_id ON deliveries (endpoint_id, id)
--
CREATE INDEX idx_delivery_alert_id ON deliveries (alert_id)
--
CREATE TABLE alert_rules (
	id VARCHAR(13) NOT NULL, 
	name TEXT NOT NULL, 
	kind VARCHAR(7) NOT NULL, 
	filter JSON NOT NULL, 
	window VARCHAR(3), 
	above DOUBLE, 
	at_least INTEGER, 
	hold INTEGER NOT NULL, 
	clear INTEGER NOT NULL, 
	cooldown_seconds INTEGER NOT NULL, 
	quiet JSON, 
	"to" JSON NOT NULL, 
	texts BOOLEAN DEFAULT 0 NOT NULL, 
	enabled BOOLEAN DEFAULT 1 NOT NULL, 
	created_at BIGINT NOT NULL, 
	judged_at BIGINT, 
	judged_id INTEGER, 
	PRIMARY KEY (id)
)
--
CREATE INDEX idx_alert_rule_created_at ON alert_rules (created_at, id)
--
CREATE TABLE alerts (
	id VARCHAR(13) NOT NULL, 
	rule_id VARCHAR(13) NOT NULL, 
	"key" TEXT NOT NULL, 
	state VARCHAR(7) NOT NULL, 
	streak INTEGER DEFAULT '0' NOT NULL, 
	opened_at BIGINT, 
	closed_at BIGINT, 
	peak DOUBLE, 
	told_peak DOUBLE, 
	told_at BIGINT, 
	put_off_until BIGINT, 
	evidence JSON NOT NULL, 
	held_back TEXT, 
	acknowledged_by TEXT, 
	acknowledged_at BIGINT, 
	muted_until BIGINT, 
	reported_at BIGINT, 
	PRIMARY KEY (id), 
	FOREIGN KEY(rule_id) REFERENCES alert_rules (id) ON DELETE CASCADE
)
--
CREATE UNIQUE INDEX idx_alert_unclosed ON alerts (rule_id, "key") WHERE state <> 'closed'
--
CREATE INDEX idx_alert_rule ON alerts (rule_id, "key", closed_at)
--
CREATE INDEX idx_alert_opened_at ON alerts (opened_at, id)
--
CREATE INDEX idx_alert_put_off ON alerts (put_off_until) WHERE put_off_until IS NOT NULL
--
CREATE INDEX idx_insight_suspected ON insights (timestamp) WHERE (notes ->> 'suspected_injection') IS NOT NULL
--
CREATE TABLE reports_sent (
	period VARCHAR(4) NOT NULL, 
	ending VARCHAR(10) NOT NULL, 
	sent_at BIGINT NOT NULL, 
	PRIMARY KEY (period, ending)
)
--
CREATE TABLE replicas (
	id VARCHAR(32) NOT NULL, 
	analyses BOOLEAN NOT NULL, 
	seen_at BIGINT NOT NULL, 
	PRIMARY KEY (id)
)
--
CREATE INDEX idx_conv_suspect ON conversations (created_at) WHERE status = 'pending' AND deaths >= 2
--
CREATE INDEX idx_insight_unhappy ON insights (author, timestamp, sentiment_score, own) WHERE sentiment_score < -0.1 AND own = 0
--
CREATE INDEX idx_conv_status ON conversations (status, lane, created_at, timestamp)
--
CREATE INDEX idx_conv_own ON conversations (timestamp) WHERE own <> 0
--
CREATE INDEX idx_insight_author ON insights (author, timestamp, id, sentiment_score, confidence, own, language, urgency, labelled, handling)
--
INSERT INTO insight_terms (insight_terms, rank) VALUES ('automerge', 0)
--
INSERT INTO insight_terms (insight_terms, rank) VALUES ('usermerge', 8)
--
INSERT INTO alembic_version VALUES ('0015')