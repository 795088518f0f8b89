BEGIN TRANSACTION;
CREATE TABLE application_versions (
    version_id TEXT NOT NULL PRIMARY KEY,
    version_name TEXT NOT NULL UNIQUE,
    version_timestamp INTEGER NOT NULL DEFAULT (strftime('%s','now') * 1000),
    created_at INTEGER NOT NULL DEFAULT (strftime('%s','now') * 1000)
, "application_name" TEXT DEFAULT NULL);
CREATE TABLE dbos_migrations (version INTEGER NOT NULL PRIMARY KEY);
INSERT INTO "dbos_migrations" VALUES(125);
CREATE TABLE iss_alias_changes (
	alias VARCHAR(64) NOT NULL, 
	version INTEGER NOT NULL, 
	at DATETIME NOT NULL, 
	action VARCHAR(32) NOT NULL, 
	author VARCHAR(200) NOT NULL, 
	remote VARCHAR(200) NOT NULL, 
	note TEXT NOT NULL, 
	state_before TEXT, 
	state_after TEXT, 
	PRIMARY KEY (alias, version)
);
INSERT INTO "iss_alias_changes" VALUES('prod',1,'2026-12-01 12:38:40.424825','set','me','','',NULL,'{"model":"f8a8cc4a77280556","variant":null,"note":"","shadow":null,"canary":null,"earlier":[]}');
CREATE TABLE iss_aliases (
	alias VARCHAR(64) NOT NULL, 
	version INTEGER NOT NULL, 
	state TEXT NOT NULL, 
	changed_at DATETIME NOT NULL, 
	PRIMARY KEY (alias)
);
INSERT INTO "iss_aliases" VALUES('prod',1,'{"model":"f8a8cc4a77280556","variant":null,"note":"","shadow":null,"canary":null,"earlier":[]}','2026-12-01 12:38:40.424825');
CREATE TABLE iss_inspections (
	id VARCHAR(64) NOT NULL, 
	run INTEGER NOT NULL, 
	state VARCHAR(32) NOT NULL, 
	request TEXT NOT NULL, 
	created_at DATETIME NOT NULL, 
	attempts INTEGER NOT NULL, 
	answer TEXT, 
	PRIMARY KEY (id)
);
INSERT INTO "iss_inspections" VALUES('a22e7011d5bb56604d41',1,'queued','{"model":{"sha256":"0000000000000000000000000000000000000000000000000000000000000000","filename":"m.pt","size_bytes":1},"model_data":null,"config":null,"vocabulary":null,"vectors":null,"characters":null,"train":null,"calibration":null,"held_out":null,"check":null,"check_graph":null,"check_graph_data":null,"recipe":{"name":"inspected","mode":"calibrate","learner":"calibrated","start":"uploaded","learn_epochs":6.0,"strength":0.002,"budget":{"perplexity_rise":null,"f1_fall":null,"output_change":null,"size_ratio":null,"speedup":null,"confident":null},"metric":"output_change","outputs":[],"shapes":[],"decision_axis":null,"prune_embedding":true,"rotate_embedding":true,"narrow_softmax":true,"check":null,"calibration_tokens":20000,"held_out_tokens":10000,"published_tokens":null,"calibration_questions":1000,"held_out_questions":1000,"minutes":null,"unit":"auto","start_token":null,"seed":1}}','2026-12-01 12:38:40.395123',0,NULL);
CREATE TABLE iss_jobs (
	id VARCHAR(64) NOT NULL, 
	run INTEGER NOT NULL, 
	state VARCHAR(32) NOT NULL, 
	request TEXT NOT NULL, 
	created_at DATETIME NOT NULL, 
	updated_at DATETIME NOT NULL, 
	stage VARCHAR(64) NOT NULL, 
	progress FLOAT NOT NULL, 
	message TEXT NOT NULL, 
	log TEXT NOT NULL, 
	attempts INTEGER NOT NULL, 
	model_id VARCHAR(64), 
	problem TEXT, 
	curve TEXT NOT NULL, 
	inspection TEXT, 
	points TEXT, 
	epochs TEXT, 
	PRIMARY KEY (id)
);
INSERT INTO "iss_jobs" VALUES('fa729bc9a6a2d974ded4',1,'queued','{"model":{"sha256":"0000000000000000000000000000000000000000000000000000000000000000","filename":"m.pt","size_bytes":1},"model_data":null,"config":null,"vocabulary":null,"vectors":null,"characters":null,"train":null,"calibration":null,"held_out":null,"check":null,"check_graph":null,"check_graph_data":null,"recipe":{"name":"queued","mode":"calibrate","learner":"calibrated","start":"uploaded","learn_epochs":6.0,"strength":0.002,"budget":{"perplexity_rise":null,"f1_fall":null,"output_change":null,"size_ratio":null,"speedup":null,"confident":null},"metric":"output_change","outputs":[],"shapes":[],"decision_axis":null,"prune_embedding":true,"rotate_embedding":true,"narrow_softmax":true,"check":null,"calibration_tokens":20000,"held_out_tokens":10000,"published_tokens":null,"calibration_questions":1000,"held_out_questions":1000,"minutes":null,"unit":"auto","start_token":null,"seed":1}}','2026-12-01 12:38:40.243495','2026-12-01 12:38:40.243495','',0.0,'','[]',0,NULL,NULL,'[]',NULL,NULL,NULL);
INSERT INTO "iss_jobs" VALUES('3dbb1f28bac7713d71af',1,'succeeded','{"model":{"sha256":"0000000000000000000000000000000000000000000000000000000000000000","filename":"m.pt","size_bytes":1},"model_data":null,"config":null,"vocabulary":null,"vectors":null,"characters":null,"train":null,"calibration":null,"held_out":null,"check":null,"check_graph":null,"check_graph_data":null,"recipe":{"name":"done","mode":"calibrate","learner":"calibrated","start":"uploaded","learn_epochs":6.0,"strength":0.002,"budget":{"perplexity_rise":null,"f1_fall":null,"output_change":null,"size_ratio":null,"speedup":null,"confident":null},"metric":"output_change","outputs":[],"shapes":[],"decision_axis":null,"prune_embedding":true,"rotate_embedding":true,"narrow_softmax":true,"check":null,"calibration_tokens":20000,"held_out_tokens":10000,"published_tokens":null,"calibration_questions":1000,"held_out_questions":1000,"minutes":null,"unit":"auto","start_token":null,"seed":1}}','2026-12-01 12:38:40.267794','2026-12-01 12:38:40.324086','publish',1.0,'published','["publish: published"]',1,'f8a8cc4a77280556',NULL,'[]',NULL,NULL,NULL);
INSERT INTO "iss_jobs" VALUES('b1309ca0adede34d6e83',1,'cancelled','{"model":{"sha256":"0000000000000000000000000000000000000000000000000000000000000000","filename":"m.pt","size_bytes":1},"model_data":null,"config":null,"vocabulary":null,"vectors":null,"characters":null,"train":null,"calibration":null,"held_out":null,"check":null,"check_graph":null,"check_graph_data":null,"recipe":{"name":"cancelled","mode":"calibrate","learner":"calibrated","start":"uploaded","learn_epochs":6.0,"strength":0.002,"budget":{"perplexity_rise":null,"f1_fall":null,"output_change":null,"size_ratio":null,"speedup":null,"confident":null},"metric":"output_change","outputs":[],"shapes":[],"decision_axis":null,"prune_embedding":true,"rotate_embedding":true,"narrow_softmax":true,"check":null,"calibration_tokens":20000,"held_out_tokens":10000,"published_tokens":null,"calibration_questions":1000,"held_out_questions":1000,"minutes":null,"unit":"auto","start_token":null,"seed":1}}','2026-12-01 12:38:40.329136','2026-12-01 12:38:40.346025','',0.0,'','[]',0,NULL,NULL,'[]',NULL,NULL,NULL);
INSERT INTO "iss_jobs" VALUES('46d00953eec1b1b2c91b',1,'running','{"model":{"sha256":"0000000000000000000000000000000000000000000000000000000000000000","filename":"m.pt","size_bytes":1},"model_data":null,"config":null,"vocabulary":null,"vectors":null,"characters":null,"train":null,"calibration":null,"held_out":null,"check":null,"check_graph":null,"check_graph_data":null,"recipe":{"name":"running","mode":"calibrate","learner":"calibrated","start":"uploaded","learn_epochs":6.0,"strength":0.002,"budget":{"perplexity_rise":null,"f1_fall":null,"output_change":null,"size_ratio":null,"speedup":null,"confident":null},"metric":"output_change","outputs":[],"shapes":[],"decision_axis":null,"prune_embedding":true,"rotate_embedding":true,"narrow_softmax":true,"check":null,"calibration_tokens":20000,"held_out_tokens":10000,"published_tokens":null,"calibration_questions":1000,"held_out_questions":1000,"minutes":null,"unit":"auto","start_token":null,"seed":1}}','2026-12-01 12:38:40.366220','2026-12-01 12:38:40.381299','search',0.3,'40% removed','["search: 40% removed"]',1,NULL,NULL,'[]',NULL,NULL,NULL);
CREATE TABLE iss_sweeps (
	id VARCHAR(64) NOT NULL, 
	name VARCHAR(64) NOT NULL, 
	created_at DATETIME NOT NULL, 
	jobs TEXT NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "iss_sweeps" VALUES('5ad199c2ebd5d960c44b','swept','2026-12-01 12:38:40.278762','["fa729bc9a6a2d974ded4", "3dbb1f28bac7713d71af"]');
CREATE TABLE notifications (
    message_uuid TEXT NOT NULL DEFAULT (hex(randomblob(16))) PRIMARY KEY,
    destination_uuid TEXT NOT NULL,
    topic TEXT,
    message TEXT NOT NULL,
    created_at_epoch_ms INTEGER NOT NULL DEFAULT (strftime('%s','now') * 1000), "serialization" TEXT DEFAULT NULL, "consumed" BOOLEAN NOT NULL DEFAULT FALSE, consumed_by_function_id INTEGER,
    FOREIGN KEY (destination_uuid) REFERENCES workflow_status(workflow_uuid) 
        ON UPDATE CASCADE ON DELETE CASCADE
);
CREATE TABLE "operation_outputs" (
    workflow_uuid TEXT NOT NULL,
    function_id INTEGER NOT NULL,
    function_name TEXT NOT NULL DEFAULT '',
    output TEXT,
    error TEXT,
    child_workflow_id TEXT,
    started_at_epoch_ms INTEGER,
    completed_at_epoch_ms INTEGER,
    serialization TEXT,
    application_name TEXT DEFAULT NULL,
    retention_timestamp INTEGER NOT NULL DEFAULT (strftime('%s','now') * 1000),
    PRIMARY KEY (workflow_uuid, function_id)
);
CREATE TABLE queues (
    queue_id TEXT PRIMARY KEY DEFAULT (hex(randomblob(16))),
    name TEXT NOT NULL UNIQUE,
    concurrency INTEGER,
    worker_concurrency INTEGER,
    rate_limit_max INTEGER,
    rate_limit_period_sec REAL,
    priority_enabled BOOLEAN NOT NULL DEFAULT FALSE,
    partition_queue BOOLEAN NOT NULL DEFAULT FALSE,
    polling_interval_sec REAL NOT NULL DEFAULT 1.0,
    created_at INTEGER NOT NULL DEFAULT (strftime('%s','now') * 1000),
    updated_at INTEGER NOT NULL DEFAULT (strftime('%s','now') * 1000)
, "application_name" TEXT DEFAULT NULL, "partition_concurrency" INTEGER DEFAULT NULL, "partition_worker_concurrency" INTEGER DEFAULT NULL, "partition_rate_limit_max" INTEGER DEFAULT NULL, "partition_rate_limit_period_sec" REAL DEFAULT NULL);
CREATE TABLE streams (
    workflow_uuid TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    "offset" INTEGER NOT NULL, function_id INTEGER NOT NULL DEFAULT 0, "serialization" TEXT DEFAULT NULL,
    PRIMARY KEY (workflow_uuid, key, "offset"),
    FOREIGN KEY (workflow_uuid) REFERENCES workflow_status(workflow_uuid) 
        ON UPDATE CASCADE ON DELETE CASCADE
);
CREATE TABLE workflow_events (
    workflow_uuid TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL, "serialization" TEXT DEFAULT NULL,
    PRIMARY KEY (workflow_uuid, key),
    FOREIGN KEY (workflow_uuid) REFERENCES workflow_status(workflow_uuid) 
        ON UPDATE CASCADE ON DELETE CASCADE
);
CREATE TABLE workflow_events_history (
    workflow_uuid TEXT NOT NULL,
    function_id INTEGER NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL, "serialization" TEXT DEFAULT NULL,
    PRIMARY KEY (workflow_uuid, function_id, key),
    FOREIGN KEY (workflow_uuid) REFERENCES workflow_status(workflow_uuid)
        ON UPDATE CASCADE ON DELETE CASCADE
);
CREATE TABLE workflow_input (
    workflow_uuid TEXT NOT NULL PRIMARY KEY,
    inputs TEXT,
    retention_timestamp INTEGER NOT NULL DEFAULT (strftime('%s','now') * 1000)
);
INSERT INTO "workflow_input" VALUES('fa729bc9a6a2d974ded4-1','gASVMgAAAAAAAAB9lCiMBGFyZ3OUjBRmYTcyOWJjOWE2YTJkOTc0ZGVkNJRLAYaUjAZrd2FyZ3OUfZR1Lg==',1796128720000);
INSERT INTO "workflow_input" VALUES('3dbb1f28bac7713d71af-1','gASVMgAAAAAAAAB9lCiMBGFyZ3OUjBQzZGJiMWYyOGJhYzc3MTNkNzFhZpRLAYaUjAZrd2FyZ3OUfZR1Lg==',1796128720000);
INSERT INTO "workflow_input" VALUES('b1309ca0adede34d6e83-1','gASVMgAAAAAAAAB9lCiMBGFyZ3OUjBRiMTMwOWNhMGFkZWRlMzRkNmU4M5RLAYaUjAZrd2FyZ3OUfZR1Lg==',1796128720000);
INSERT INTO "workflow_input" VALUES('46d00953eec1b1b2c91b-1','gASVMgAAAAAAAAB9lCiMBGFyZ3OUjBQ0NmQwMDk1M2VlYzFiMWIyYzkxYpRLAYaUjAZrd2FyZ3OUfZR1Lg==',1796128720000);
INSERT INTO "workflow_input" VALUES('inspect-a22e7011d5bb56604d41-1','gASVMgAAAAAAAAB9lCiMBGFyZ3OUjBRhMjJlNzAxMWQ1YmI1NjYwNGQ0MZRLAYaUjAZrd2FyZ3OUfZR1Lg==',1796128720000);
CREATE TABLE workflow_output (
    workflow_uuid TEXT NOT NULL PRIMARY KEY,
    output TEXT,
    error TEXT,
    retention_timestamp INTEGER NOT NULL DEFAULT (strftime('%s','now') * 1000)
);
CREATE TABLE workflow_schedules (
    schedule_id TEXT PRIMARY KEY,
    schedule_name TEXT NOT NULL UNIQUE,
    workflow_name TEXT NOT NULL,
    workflow_class_name TEXT,
    schedule TEXT NOT NULL,
    status TEXT NOT NULL DEFAULT 'ACTIVE',
    context TEXT NOT NULL
, "last_fired_at" TEXT DEFAULT NULL, "automatic_backfill" BOOLEAN NOT NULL DEFAULT FALSE, "cron_timezone" TEXT DEFAULT NULL, "queue_name" TEXT DEFAULT NULL, "application_name" TEXT DEFAULT NULL);
CREATE TABLE workflow_status (
    workflow_uuid TEXT PRIMARY KEY,
    status TEXT,
    name TEXT,
    authenticated_user TEXT,
    assumed_role TEXT,
    authenticated_roles TEXT,
    request TEXT,
    output TEXT,
    error TEXT,
    executor_id TEXT,
    created_at INTEGER NOT NULL DEFAULT (strftime('%s','now') * 1000),
    updated_at INTEGER NOT NULL DEFAULT (strftime('%s','now') * 1000),
    application_version TEXT,
    application_id TEXT,
    class_name TEXT DEFAULT NULL,
    config_name TEXT DEFAULT NULL,
    recovery_attempts INTEGER DEFAULT 0,
    queue_name TEXT,
    workflow_timeout_ms INTEGER,
    workflow_deadline_epoch_ms INTEGER,
    inputs TEXT,
    started_at_epoch_ms INTEGER,
    deduplication_id TEXT,
    priority INTEGER NOT NULL DEFAULT 0
, queue_partition_key TEXT, forked_from TEXT, "owner_xid" TEXT DEFAULT NULL, "parent_workflow_id" TEXT DEFAULT NULL, "serialization" TEXT DEFAULT NULL, "delay_until_epoch_ms" BIGINT DEFAULT NULL, "was_forked_from" BOOLEAN NOT NULL DEFAULT FALSE, "rate_limited" BOOLEAN NOT NULL DEFAULT FALSE, "completed_at" BIGINT, "attributes" TEXT, "schedule_name" TEXT, "debounce_deadline_epoch_ms" BIGINT DEFAULT NULL, "is_debounced" BOOLEAN NOT NULL DEFAULT FALSE, "application_name" TEXT DEFAULT NULL, "creator_xid" TEXT DEFAULT NULL);
INSERT INTO "workflow_status" VALUES('fa729bc9a6a2d974ded4-1','ENQUEUED','compress',NULL,NULL,NULL,NULL,NULL,NULL,NULL,1796128720000,1796128720000,'1',NULL,NULL,NULL,0,'compress',NULL,NULL,NULL,NULL,NULL,0,NULL,NULL,NULL,NULL,'py_pickle',NULL,0,0,NULL,'null',NULL,NULL,0,NULL,'afcf1142-d40a-4906-b2c7-18b64b4a507e');
INSERT INTO "workflow_status" VALUES('3dbb1f28bac7713d71af-1','SUCCESS','compress',NULL,NULL,NULL,NULL,NULL,NULL,NULL,1796128720000,1796128720000,'1',NULL,NULL,NULL,0,'compress',NULL,NULL,NULL,NULL,NULL,0,NULL,NULL,NULL,NULL,'py_pickle',NULL,0,0,NULL,'null',NULL,NULL,0,NULL,'be916670-b731-4151-8b10-0889afb1fad2');
INSERT INTO "workflow_status" VALUES('b1309ca0adede34d6e83-1','CANCELLED','compress',NULL,NULL,NULL,NULL,NULL,NULL,NULL,1796128720000,1796128720000,'1',NULL,NULL,NULL,0,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL,NULL,NULL,'py_pickle',NULL,0,0,1796128720000,'null',NULL,NULL,0,NULL,'8d017d42-2bba-4153-9800-dc9fdfb4c40b');
INSERT INTO "workflow_status" VALUES('46d00953eec1b1b2c91b-1','PENDING','compress',NULL,NULL,NULL,NULL,NULL,NULL,'gone-0',1796128720000,1796128720000,'1',NULL,NULL,NULL,0,'compress',NULL,NULL,NULL,NULL,NULL,0,NULL,NULL,NULL,NULL,'py_pickle',NULL,0,0,NULL,'null',NULL,NULL,0,NULL,'74a4593d-2bc8-4646-a1b0-d2d3868d9e17');
INSERT INTO "workflow_status" VALUES('inspect-a22e7011d5bb56604d41-1','ENQUEUED','inspect',NULL,NULL,NULL,NULL,NULL,NULL,NULL,1796128720000,1796128720000,'1',NULL,NULL,NULL,0,'inspect',NULL,NULL,NULL,NULL,NULL,0,NULL,NULL,NULL,NULL,'py_pickle',NULL,0,0,NULL,'null',NULL,NULL,0,NULL,'9d6bbace-8bea-48f8-895f-0b4c47367cf8');
CREATE INDEX workflow_status_created_at_index ON workflow_status (created_at);
CREATE INDEX idx_workflow_topic ON notifications (destination_uuid, topic);
CREATE INDEX "idx_workflow_status_delayed" ON "workflow_status" ("delay_until_epoch_ms") WHERE status = 'DELAYED';
CREATE INDEX "idx_workflow_status_forked_from" ON "workflow_status" ("forked_from") WHERE "forked_from" IS NOT NULL;
CREATE INDEX "idx_workflow_status_parent_workflow_id" ON "workflow_status" ("parent_workflow_id") WHERE "parent_workflow_id" IS NOT NULL;
CREATE UNIQUE INDEX "uq_workflow_status_dedup_id" ON "workflow_status" ("queue_name", "deduplication_id") WHERE "deduplication_id" IS NOT NULL;
CREATE INDEX "idx_workflow_status_pending" ON "workflow_status" ("created_at") WHERE "status" = 'PENDING';
CREATE INDEX "idx_workflow_status_failed" ON "workflow_status" ("status", "created_at") WHERE "status" IN ('ERROR', 'CANCELLED', 'MAX_RECOVERY_ATTEMPTS_EXCEEDED');
CREATE INDEX "idx_workflow_status_rate_limited" ON "workflow_status" ("queue_name", "started_at_epoch_ms") WHERE "rate_limited" = TRUE;
CREATE INDEX "idx_workflow_status_completed_at" ON "workflow_status" ("completed_at") WHERE "completed_at" IS NOT NULL;
CREATE INDEX "idx_workflow_status_started_at" ON "workflow_status" ("started_at_epoch_ms") WHERE "started_at_epoch_ms" IS NOT NULL;
CREATE INDEX "idx_workflow_status_schedule_name" ON "workflow_status" ("schedule_name") WHERE "schedule_name" IS NOT NULL;
CREATE UNIQUE INDEX "uq_application_versions_owner_version"
    ON application_versions ("application_name", "version_name")
    WHERE "application_name" IS NOT NULL;
CREATE UNIQUE INDEX "uq_application_versions_unclaimed_version"
    ON application_versions ("version_name")
    WHERE "application_name" IS NULL;
CREATE INDEX idx_workflow_input_retention
    ON workflow_input (retention_timestamp);
CREATE INDEX idx_workflow_output_retention
    ON workflow_output (retention_timestamp);
CREATE INDEX idx_operation_outputs_retention
    ON operation_outputs (retention_timestamp);
CREATE INDEX "idx_workflow_status_in_flight_v2" ON "workflow_status" ("queue_name", "status", "priority", "created_at", "application_name") WHERE "status" IN ('ENQUEUED', 'PENDING');
CREATE INDEX "idx_workflow_status_partition_dequeue_v3" ON "workflow_status" ("queue_name", "status", "queue_partition_key", "priority", "created_at", "workflow_uuid", "application_name") WHERE "status" IN ('ENQUEUED', 'PENDING') AND "queue_partition_key" IS NOT NULL;
CREATE INDEX "idx_operation_outputs_completed_at_function_name_v2" ON "operation_outputs" ("completed_at_epoch_ms", "function_name", "application_name");
CREATE INDEX "idx_workflow_status_deadline" ON "workflow_status" ("workflow_deadline_epoch_ms") WHERE "status" IN ('ENQUEUED', 'PENDING', 'DELAYED') AND "workflow_deadline_epoch_ms" IS NOT NULL;
CREATE INDEX "idx_application_versions_timestamp" ON "application_versions" ("version_timestamp" DESC);
CREATE INDEX "idx_application_versions_owner_timestamp" ON "application_versions" ("application_name", "version_timestamp" DESC);
CREATE INDEX ix_iss_jobs_state ON iss_jobs (state);
CREATE INDEX ix_iss_inspections_state ON iss_inspections (state);
COMMIT;
