"""What a SQLite file does for a ledger: its tables, and the statements that read and change them."""

from __future__ import annotations

VERSION = 5
"""Version of the schema; a file stores its own in `user_version`."""

SCHEMA = (
    """CREATE TABLE IF NOT EXISTS accounts (
        account TEXT PRIMARY KEY, key_digest BLOB NOT NULL UNIQUE,
        disabled INTEGER NOT NULL DEFAULT 0, pending INTEGER, requests_a_minute INTEGER
    )""",
    """CREATE TABLE IF NOT EXISTS requests (
        window INTEGER, account TEXT, count INTEGER NOT NULL, PRIMARY KEY (window, account)
    ) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS standings (
        counted TEXT, payer TEXT, numbers BLOB NOT NULL, PRIMARY KEY (counted, payer)
    )""",
    # What the numbers count that were counted last.
    "CREATE TABLE IF NOT EXISTS counting (one INTEGER PRIMARY KEY CHECK (one = 1), counted TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS signing_keys (number INTEGER PRIMARY KEY, secret BLOB NOT NULL)",
    # A challenge is held without an answer, then kept with one, then redeemed; the answer is NULL once spent.
    """CREATE TABLE IF NOT EXISTS challenges (
        challenge BLOB PRIMARY KEY, account TEXT NOT NULL, answer BLOB, expires REAL NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('held', 'kept', 'redeemed')),
        attempt TEXT, digest BLOB, token TEXT, redeemed INTEGER,
        counted TEXT, payer TEXT, settles BLOB
    )""",
    "CREATE INDEX IF NOT EXISTS pending ON challenges (account, expires) WHERE state != 'redeemed'",
    "CREATE INDEX IF NOT EXISTS expiring ON challenges (expires)",
    """CREATE UNIQUE INDEX IF NOT EXISTS attempts ON challenges (account, attempt)
        WHERE attempt IS NOT NULL""",
    """CREATE INDEX IF NOT EXISTS remembered ON challenges (account, redeemed)
        WHERE state = 'redeemed' AND answer IS NOT NULL""",
)

# One statement sees one moment, even if another process is creating the schema.
VERSION_AND_TABLES = "SELECT user_version, (SELECT count(*) FROM sqlite_schema) FROM pragma_user_version"
ACCOUNTS = "SELECT account, disabled, pending, requests_a_minute FROM accounts"
PENDING = """
    SELECT expires FROM challenges INDEXED BY pending
    WHERE account = ? AND state != 'redeemed' AND expires > ? ORDER BY expires DESC LIMIT 1 OFFSET ?
"""
ATTEMPTED = "SELECT digest, token FROM challenges WHERE account = ? AND attempt = ? AND expires > ?"
FORGET_ATTEMPT = "DELETE FROM challenges WHERE account = ? AND attempt = ?"
HOLD = """
    INSERT INTO challenges (challenge, account, expires, state, attempt, digest)
    VALUES (?, ?, ?, 'held', ?, ?)
"""
SPEND = "INSERT INTO challenges (challenge, account, expires, state) VALUES (?, ?, ?, 'redeemed')"
KEEP = """
    INSERT INTO challenges (challenge, account, answer, token, expires, counted, payer, settles, state)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'kept')
    ON CONFLICT (challenge) DO UPDATE
    SET answer = excluded.answer, token = excluded.token, expires = excluded.expires,
        counted = excluded.counted, payer = excluded.payer, settles = excluded.settles, state = 'kept'
    WHERE state = 'held' AND account = excluded.account
"""
STAND = "INSERT OR REPLACE INTO standings VALUES (?, ?, ?)"
FIND = "SELECT state, answer, account FROM challenges WHERE challenge = ? AND expires > ?"
SETTLES = """
    SELECT counted, payer, settles, numbers FROM challenges JOIN standings USING (counted, payer)
    WHERE challenge = ?
"""
# Redemptions of an account are numbered.
REDEEM = """
    UPDATE challenges SET state = 'redeemed', redeemed = 1 + (
        SELECT coalesce(max(redeemed), 0) FROM challenges INDEXED BY remembered
        WHERE account = ? AND state = 'redeemed' AND answer IS NOT NULL
    ) WHERE challenge = ? RETURNING redeemed
"""
SPEND_OLD = """
    UPDATE challenges INDEXED BY remembered SET answer = NULL
    WHERE account = ? AND state = 'redeemed' AND answer IS NOT NULL AND redeemed <= ?
"""
CHECK = "INSERT OR REPLACE INTO requests SELECT * FROM (SELECT 0, '(check)', 0)"
COUNT_REQUEST = """
    INSERT INTO requests VALUES (?, ?, 1)
    ON CONFLICT DO UPDATE SET count = count + 1 RETURNING count
"""
