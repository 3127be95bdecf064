-- The first schema. It is never edited: what came later is in migrations.py.
-- Times are unix seconds (UTC). Paths are relative to the data folder. JSON may hold NaN, as Python's json does.
CREATE TABLE jobs (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,  -- grows with every submission, also when the clock is set back
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    name_key TEXT NOT NULL,                 -- its ``search_key``, for sorting
    search_text TEXT NOT NULL,              -- name, id, dataset and configuration as ``search_key`` gives them, one per line
    status TEXT NOT NULL,
    attempt INTEGER NOT NULL DEFAULT 0,
    created_at REAL NOT NULL,
    started_at REAL,
    updated_at REAL NOT NULL,
    finished_at REAL,
    duration_s REAL NOT NULL DEFAULT -1,    -- -1 before the start; kept up by the worker while running
    dataset_id TEXT NOT NULL,
    dataset_name TEXT,
    config_id TEXT,
    config_name TEXT,
    trainer TEXT NOT NULL,
    settings TEXT NOT NULL,                 -- JSON: the job's own copy
    time_limit_s REAL,
    submission_id TEXT UNIQUE,
    queue_rank REAL NOT NULL,
    cancel_requested INTEGER NOT NULL DEFAULT 0,
    size_bytes INTEGER                      -- of the job's files, known once an attempt has ended
);

-- A list walks one of these. Each also holds what the list filters by, so that only the rows of one page are read.
CREATE INDEX jobs_created ON jobs (created_at, id, status, finished_at);
CREATE INDEX jobs_name ON jobs (name_key, created_at, id, status, finished_at);
CREATE INDEX jobs_status ON jobs (status, created_at, id, finished_at);
CREATE INDEX jobs_duration ON jobs (duration_s, created_at, id, status, finished_at);
CREATE INDEX jobs_finished ON jobs (finished_at, status, created_at, id);
CREATE INDEX jobs_search ON jobs (created_at, id, search_text, status, finished_at, duration_s);
CREATE INDEX jobs_config ON jobs (config_id, status, finished_at);
CREATE INDEX jobs_queue ON jobs (queue_rank) WHERE status = 'pending';
CREATE INDEX jobs_active ON jobs (dataset_id, config_id) WHERE status IN ('pending', 'running');

CREATE TABLE status_counts (status TEXT PRIMARY KEY, jobs INTEGER NOT NULL) WITHOUT ROWID;

CREATE TRIGGER jobs_counted AFTER INSERT ON jobs BEGIN
    INSERT INTO status_counts VALUES (new.status, 1) ON CONFLICT (status) DO UPDATE SET jobs = jobs + 1;
END;

CREATE TRIGGER jobs_recounted AFTER UPDATE OF status ON jobs WHEN old.status <> new.status BEGIN
    UPDATE status_counts SET jobs = jobs - 1 WHERE status = old.status;
    INSERT INTO status_counts VALUES (new.status, 1) ON CONFLICT (status) DO UPDATE SET jobs = jobs + 1;
END;

CREATE TRIGGER jobs_uncounted AFTER DELETE ON jobs BEGIN
    UPDATE status_counts SET jobs = jobs - 1 WHERE status = old.status;
END;

CREATE TABLE attempts (
    job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    status TEXT NOT NULL,
    started_at REAL NOT NULL,
    finished_at REAL,
    last_output_at REAL,
    exit_code INTEGER,                      -- a negative one is a signal
    progress TEXT NOT NULL DEFAULT '{}',    -- JSON
    failure TEXT,                           -- JSON
    alarms TEXT NOT NULL DEFAULT '[]',      -- JSON
    command TEXT NOT NULL DEFAULT '[]',     -- JSON
    PRIMARY KEY (job_id, number)
) WITHOUT ROWID;

CREATE TABLE artifacts (
    job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    attempt INTEGER NOT NULL,
    path TEXT NOT NULL,                     -- relative to the attempt's output folder
    kind TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    created_at REAL NOT NULL,
    epoch INTEGER,
    step INTEGER,
    prompt_index INTEGER,
    prompt TEXT,
    key TEXT,                               -- where the object store has a copy
    PRIMARY KEY (job_id, attempt, path)
) WITHOUT ROWID;

CREATE TABLE configs (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    name_key TEXT NOT NULL UNIQUE,
    settings TEXT NOT NULL,                 -- JSON
    description TEXT NOT NULL,
    is_default INTEGER NOT NULL,
    created_at REAL NOT NULL,
    updated_at REAL NOT NULL
) WITHOUT ROWID;

CREATE UNIQUE INDEX configs_default ON configs (is_default) WHERE is_default = 1;
