"""What a Redis server does for a ledger: scripts in Lua, each of which it runs atomically.

Under the prefix the server holds:

    identity                    of this ledger; once it is gone or another one, all that was told is lost
    accounts, keys              hashes from account to key digest, and back
    changes                     hash from account to [disabled, pending, requests_a_minute] in JSON
    requests:<window>, windows  hash with each account's count, and the windows that have one
    standings:<counted>         hash with the numbers of where each payer stands
    counting                    what the numbers count that were counted last
    signing_keys                list, the newest first
    expiries                    challenges and places by the time they expire
    challenge:<id>              hash with account, and as they come answer, token, attempt, digest, redeemed,
                                and whose numbers it settles, by how much: standings, payer, settles
    pending:<account>           its places and challenges that are not redeemed, by the time they expire
    redeemed:<account>          its redeemed challenges whose answer is kept, in the order of redemption
    redemptions                 number of redemptions
    attempts                    hash from account and attempt to challenge
"""

from __future__ import annotations

from gate.ledgers.base import WINDOW_SECONDS

# The times of a host whose clock is ahead must not make another host's challenges expire.
PRELUDE = """
local call = redis.call
local function key(name) return KEYS[1] .. name end
if call('GET', key('identity')) ~= table.remove(ARGV, 1) then return 'lost' end
local function at_most_present(now)
    local time = call('TIME')
    local present = time[1] + time[2] / 1e6
    return present < tonumber(now) and present or now
end
"""

ADD = """
local function add(account, digest)
    if call('HEXISTS', key('accounts'), account) == 1 or call('HEXISTS', key('keys'), digest) == 1 then
        return false
    end
    call('HSET', key('accounts'), account, digest)
    call('HSET', key('keys'), digest, account)
    return true
end
"""

# Who asks once more than allowed is refused before anything is changed, since Redis undoes nothing.
COUNT = """
local function is_full(account, window, most)
    return tonumber(call('HGET', key('requests:' .. window), account) or 0) >= tonumber(most)
end
local function count(account, window)
    call('HINCRBY', key('requests:' .. window), account, 1)
    call('ZADD', key('windows'), window, window)
end
"""

FORGET = """
local function forget(challenge)
    local account, attempt = unpack(call('HMGET', key('challenge:' .. challenge), 'account', 'attempt'))
    if account then
        call('ZREM', key('pending:' .. account), challenge)
        call('ZREM', key('redeemed:' .. account), challenge)
        if attempt then call('HDEL', key('attempts'), account .. ' ' .. attempt) end
    end
    call('DEL', key('challenge:' .. challenge))
    call('ZREM', key('expiries'), challenge)
end
"""

# Gives a challenge's state and answer, or only why there is none.
FOUND = """
local function found(challenge, now)
    local expires = call('ZSCORE', key('expiries'), challenge)
    if not expires or tonumber(expires) <= tonumber(at_most_present(now)) then return {'unknown'} end
    local fields = call('HMGET', key('challenge:' .. challenge), 'token', 'redeemed', 'answer')
    if fields[2] and not fields[3] then return {'spent'} end
    if not fields[3] then return {'unknown'} end
    return {fields[2] and 'redeemed' or 'kept', fields[3]}
end
"""

OPEN_ACCOUNT = """
local account, digest, challenge, expires, strangers, window, most = unpack(ARGV)
if call('ZSCORE', key('expiries'), challenge) then return 'spent' end
if is_full(strangers, window, most) then return 'rate' end
if not add(account, digest) then return 'taken' end
count(strangers, window)
call('ZADD', key('expiries'), expires, challenge)
call('HSET', key('challenge:' .. challenge), 'redeemed', 1)
return 'opened'
"""

FIND_ACCOUNT = """
local account = call('HGET', key('keys'), ARGV[1])
if not account then return {false, false} end
return {account, call('HGET', key('changes'), account)}
"""

ACCOUNTS = """
local rows = {}
for _, account in ipairs(call('HKEYS', key('accounts'))) do
    rows[#rows + 1] = account
    rows[#rows + 1] = call('HGET', key('changes'), account)
end
return rows
"""

CHANGE_ACCOUNT = """
if call('HEXISTS', key('accounts'), ARGV[1]) == 0 then return 0 end
call('HSET', key('changes'), ARGV[1], ARGV[2])
return 1
"""

REMOVE_ACCOUNT = """
local digest = call('HGET', key('accounts'), ARGV[1])
if not digest then return 0 end
call('HDEL', key('accounts'), ARGV[1])
call('HDEL', key('changes'), ARGV[1])
call('HDEL', key('keys'), digest)
return 1
"""

# An account at its limit may ask again when the limit-th challenge from the last to expire has expired.
ADMIT = """
local account, challenge, now, until_, window, most_pending, most_requests, attempt, digest = unpack(ARGV)
now = at_most_present(now)
local attempted = account .. ' ' .. attempt
local before = attempt ~= '' and call('HGET', key('attempts'), attempted)
if before then
    local expires = call('ZSCORE', key('expiries'), before)
    if expires and tonumber(expires) > tonumber(now) then
        local fields = call('HMGET', key('challenge:' .. before), 'digest', 'token')
        if fields[1] ~= digest then return {'another'} end
        if not fields[2] then return {'in progress'} end
        if is_full(account, window, most_requests) then return {'rate'} end
        count(account, window)
        return {'repeated', fields[2]}
    end
end
local in_the_way = call('ZREVRANGEBYSCORE', key('pending:' .. account), '+inf', '(' .. now,
                        'WITHSCORES', 'LIMIT', most_pending - 1, 1)
if #in_the_way > 0 then return {'pending', in_the_way[2]} end
if is_full(account, window, most_requests) then return {'rate'} end
if call('ZSCORE', key('expiries'), challenge) and challenge ~= before then return {'taken'} end
if before then forget(before) end
call('ZADD', key('expiries'), until_, challenge)
call('HSET', key('challenge:' .. challenge), 'account', account)
if attempt ~= '' then
    call('HSET', key('challenge:' .. challenge), 'attempt', attempt, 'digest', digest)
    call('HSET', key('attempts'), attempted, challenge)
end
call('ZADD', key('pending:' .. account), until_, challenge)
count(account, window)
return {'admitted'}
"""

GIVE_UP = """
local fields = call('HMGET', key('challenge:' .. ARGV[1]), 'token', 'account')
if fields[2] and not fields[1] then forget(ARGV[1]) end
return 1
"""

CHARGE = """
local standings, payer, before, after, challenge, account, answer, token, expires, settles = unpack(ARGV)
if (call('HGET', standings, payer) or '') ~= before then return 'changed' end
local fields = call('HMGET', key('challenge:' .. challenge), 'account', 'token')
if call('ZSCORE', key('expiries'), challenge) and (fields[2] or fields[1] ~= account) then return 'taken' end
call('ZADD', key('expiries'), expires, challenge)
call('HSET', key('challenge:' .. challenge), 'account', account, 'answer', answer, 'token', token,
     'standings', standings, 'payer', payer, 'settles', settles)
call('ZADD', key('pending:' .. account), expires, challenge)
call('HSET', standings, payer, after)
return 'charged'
"""

FIND = """
return found(ARGV[1], ARGV[2])
"""

SETTLE = """
local function settle(challenge)
    local standings, payer, settles = unpack(call('HMGET', key('challenge:' .. challenge),
                                                  'standings', 'payer', 'settles'))
    local numbers = payer and call('HGET', standings, payer)
    if not numbers then return end
    local sums = {}
    for at = 1, #settles, 8 do
        local before, added = struct.unpack('<d', numbers, at), struct.unpack('<d', settles, at)
        sums[#sums + 1] = struct.pack('<d', before + added)
    end
    call('HSET', standings, payer, table.concat(sums) .. numbers:sub(#settles + 1))
end
"""

REDEEM = """
local challenge, now, remembered = unpack(ARGV)
local result = found(challenge, now)
if result[1] ~= 'kept' then return result end
local account = call('HGET', key('challenge:' .. challenge), 'account')
settle(challenge)
call('HSET', key('challenge:' .. challenge), 'redeemed', 1)
call('ZREM', key('pending:' .. account), challenge)
call('ZADD', key('redeemed:' .. account), call('INCR', key('redemptions')), challenge)
for _, old in ipairs(call('ZREVRANGE', key('redeemed:' .. account), remembered, -1)) do
    call('HDEL', key('challenge:' .. old), 'answer')
    call('ZREM', key('redeemed:' .. account), old)
end
return result
"""

COUNT_AS = """
local before = call('GET', key('counting'))
if before and before ~= ARGV[1] and ARGV[2] == '0' then return {before} end
call('SET', key('counting'), ARGV[1])
return {}
"""

SIGNING_KEYS = """
return call('LRANGE', key('signing_keys'), 0, -1)
"""

ADD_SIGNING_KEY = """
call('LPUSH', key('signing_keys'), ARGV[1])
call('LTRIM', key('signing_keys'), 0, ARGV[2])
"""

CHECK = """
call('SET', key('checked'), 1)
call('DEL', key('checked'))
return 1
"""

SWEEP = """
local now = at_most_present(ARGV[1])
local window = math.floor(now / WINDOW_SECONDS)
local expired = call('ZRANGEBYSCORE', key('expiries'), '-inf', now)
for _, challenge in ipairs(expired) do forget(challenge) end
for _, past in ipairs(call('ZRANGEBYSCORE', key('windows'), '-inf', '(' .. window)) do
    call('DEL', key('requests:' .. past))
end
call('ZREMRANGEBYSCORE', key('windows'), '-inf', '(' .. window)
return #expired
"""

SCRIPTS = {
    "add_account": ADD + "return add(ARGV[1], ARGV[2]) and 1 or 0",
    "open_account": ADD + COUNT + OPEN_ACCOUNT,
    "find_account": FIND_ACCOUNT,
    "accounts": ACCOUNTS,
    "change_account": CHANGE_ACCOUNT,
    "remove_account": REMOVE_ACCOUNT,
    "admit": COUNT + FORGET + ADMIT,
    "give_up": FORGET + GIVE_UP,
    "charge": CHARGE,
    "find": FOUND + FIND,
    "redeem": FOUND + SETTLE + REDEEM,
    "count_as": COUNT_AS,
    "signing_keys": SIGNING_KEYS,
    "add_signing_key": ADD_SIGNING_KEY + SIGNING_KEYS,
    "check": CHECK,
    "sweep": FORGET + SWEEP.replace("WINDOW_SECONDS", str(WINDOW_SECONDS)),
}
"""Each script by the method that runs it; all begin with PRELUDE."""
