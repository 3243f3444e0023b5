-- What Fanfare does inside Redis: history with positions, idempotency, presence.  The hub puts
-- these lines in front and loads the whole as a library of functions, or as a script where Redis
-- knows none:
--
--     local SCRIPT, VERSION = false, '...'
--     local WORD, PREFIX = 'fanfare', 'fanfare:'
--     local RULES = { { match = '^h:.*$', size = 1000, ttl = 300000, join_leave = true }, ... }
--
-- Every key of a channel has the channel's name as its hash tag, and KEYS[1] is that name.  Each
-- function is atomic.  docs/PUBLISHING.md describes the keys and the two functions that are for
-- all.

local MAGIC = '\255fanfare\1'
local BINARY, POSITION, JOIN, LEAVE = 1, 2, 4, 8
local PAYLOAD_MAX = 64 * 1024 * 1024
local NAME_MAX, KEY_MAX = 255, 255
local DAY = 24 * 3600 * 1000
local NEVER_USED = 180 * 1000
local BATCH = 64
local KNOWN_MAX = 10000

-- These last as long as the process, at most: loading anew begins afresh.
local run_id
local durable_until = 0
local trusted_since
local loaded_from_aof = false
local known, known_count = {}, 0

local function failed(why)
	return redis.error_reply('ERR ' .. why)
end

local function key_of(name, what)
	return PREFIX .. '{' .. name .. '}:' .. what
end

-- The first rule that matches; false: this is no channel's name.
local function find_rule(name)
	if #name > NAME_MAX or not string.find(name, '^!?[%w_:.#/=@,;-]+$') then
		return false
	end
	for _, rule in ipairs(RULES) do
		if string.find(name, rule.match) then
			return rule
		end
	end
	return { size = 0, ttl = 0, join_leave = false }
end

local function rule_of(name)
	local rule = known[name]
	if rule == nil then
		if known_count >= KNOWN_MAX then
			known, known_count = {}, 0
		end
		rule = find_rule(name)
		if rule then
			known[name], known_count = rule, known_count + 1
		end
	end
	return rule
end

local function milliseconds()
	local t = redis.call('TIME')
	return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- Numbers beyond 10^14 must not become 1e+15.
local function digits(number)
	return string.format('%.0f', number)
end

-- --- generations ------------------------------------------------------------------------------
--
-- meta names the server that wrote last.  Another one, or the same in another life, may lack what
-- was written: then the epoch changes, unless it is provable that nothing was lost.

local function field(info, name)
	return string.match(info, '\n' .. name .. ':([^\r\n]*)')
end

-- This process in this role: the first half of its run id and of its replication id, which changes
-- when a replica is made a master.
local function server()
	run_id = run_id or field(redis.call('INFO', 'server'), 'run_id')
	local info = redis.call('INFO', 'replication')
	return string.sub(run_id, 1, 20) .. string.sub(field(info, 'master_replid'), 1, 20), info
end

-- Whether there is no trace of another server that had, or has, the same data.
local function alone(info)
	return field(info, 'role') == 'master' and field(info, 'connected_slaves') == '0' and
	    field(info, 'repl_backlog_active') == '0' and
	    string.find(field(info, 'master_replid2'), '^0+$') ~= nil
end

-- Whether what is written now survives this process: the hub has seen the settings a moment ago,
-- and the file is complete, as it is not while it is made for the first time.  Seconds are compared,
-- so that does not begin in the one in which trust does.
local function durable(info, now)
	if durable_until <= now or trusted_since == math.floor(now / 1000) or not alone(info) then
		return false
	end
	local p = redis.call('INFO', 'persistence')
	return field(p, 'aof_enabled') == '1' and field(p, 'aof_rewrite_in_progress') == '0' and
	    field(p, 'aof_rewrite_scheduled') == '0' and
	    field(p, 'aof_last_bgrewrite_status') == 'ok' and
	    field(p, 'aof_last_write_status') == 'ok'
end

-- Whether this process began with what the append-only file held.  Once it has been rewritten this
-- cannot be seen any more, as then it may have been switched on later.
local function from_aof()
	if not loaded_from_aof then
		local p = redis.call('INFO', 'persistence')
		loaded_from_aof = field(p, 'aof_enabled') == '1' and
		    field(p, 'aof_last_rewrite_time_sec') == '-1' and
		    field(p, 'aof_rewrite_in_progress') == '0' and
		    field(p, 'aof_rewrite_scheduled') == '0'
	end
	return loaded_from_aof
end

-- The second in which this process began, or the next, for the time is known in whole seconds.
local function began(now)
	return now - tonumber(field(redis.call('INFO', 'server'), 'uptime_in_seconds'))
end

-- A file that is not written any more does not say so.  So what is trusted is a lease in it, which
-- hubs renew while they see that every write is on disk: a process that began while the lease of the
-- one before ran has read a file that was written to its end, but for the length of a lease.  Answers
-- since which second all processes have been of that kind; nil: this one is not.
local function trust(now)
	local t = redis.pcall('HMGET', key_of('!server', 'trust'), 'run', 'since', 'seen', 'over')
	if t.err or not t[4] then
		return nil
	end
	if t[1] ~= run_id then
		local second = began(now)
		if second < tonumber(t[3]) or tonumber(t[4]) < second then
			return nil
		end
	end
	return tonumber(t[2])
end

-- Whether nothing can have been lost since the second in which meta was written durably by
-- `writer`: it was the last write, to a file that this process, which came later, has read to its
-- true end, and so had each between them.  (Who gets a first replica gets another replication id
-- with it, so what is written from then on has another epoch.)
local function survived(written, writer, info)
	if written == 0 or not alone(info) or not from_aof() or
	    string.sub(writer, 1, 20) == string.sub(run_id, 1, 20) then
		return false
	end
	local now = tonumber(redis.call('TIME')[1])
	local since = trust(now)
	return since ~= nil and since < written and written <= now
end

-- Where the channel stands.  changed: all of it must be written to meta.
local function stand(name)
	local at = { meta = key_of(name, 'meta'), log = key_of(name, 'log') }
	local m = redis.call('HMGET', at.meta, 'epoch', 'offset', 'server', 'durable')
	at.server, at.info = server()
	at.epoch, at.offset, at.durable = m[1], tonumber(m[2] or ''), tonumber(m[4] or '') or 0
	if at.epoch and at.offset and m[3] == at.server then
		return at
	end
	at.changed = true
	if not at.epoch or not at.offset then
		redis.call('DEL', at.log)
		at.epoch, at.offset = '', 0
	elseif survived(at.durable, m[3] or '', at.info) then
		at.proven = true
		return at
	end
	local t = redis.call('TIME')
	at.epoch = string.sub(redis.sha1hex(table.concat({ run_id, at.server, t[1], t[2], name,
	    at.epoch }, ' ')), 1, 16)
	return at
end

-- A channel that never had a message is soon forgotten, for anybody may ask for many.
local function keep(at, ttl)
	redis.call('PEXPIRE', at.meta, digits(at.offset == 0 and NEVER_USED or ttl + DAY))
end

-- Writes where the channel stands, with a new message or without.
local function settle(at, ttl)
	local now = durable_until > 0 and milliseconds() or 0
	local second = durable(at.info, now) and math.floor(now / 1000) or 0
	if at.changed or second ~= at.durable then
		redis.call('HSET', at.meta, 'epoch', at.epoch, 'offset', digits(at.offset),
		    'server', at.server, 'durable', second)
	else
		redis.call('HSET', at.meta, 'offset', digits(at.offset))
	end
	keep(at, ttl)
end

-- The same where nothing was published: what is durable is not made less so.
local function touch(at, ttl)
	if at.changed and not (at.proven and not durable(at.info, milliseconds())) then
		settle(at, ttl)
	else
		keep(at, ttl)
	end
end

-- --- history ----------------------------------------------------------------------------------

local function send(name, flags, body, position)
	redis.call('PUBLISH', PREFIX .. name,
	    MAGIC .. string.char(flags) .. (position or '') .. body)
end

local function append(at, rule, field_name, payload)
	return redis.pcall('XADD', at.log, 'MAXLEN', digits(rule.size), digits(at.offset) .. '-0',
	    field_name, payload)
end

-- ARGV: payload, key of idempotency or '', 'binary' or 'text' or none: valid UTF-8 is text.
-- Answers with the position: offset, epoch.
local function publish(keys, args)
	local name, payload, key = keys[1], args[1], args[2] or ''
	local kind = args[3] == 'binary' and 'binary' or 'text'
	local rule = name and rule_of(name)
	if not rule or not payload then
		return failed('give a channel\'s name as the one key, and a payload')
	elseif #payload > PAYLOAD_MAX or #key > KEY_MAX then
		return failed('the payload or the idempotency key is too long')
	end
	local flags = kind == 'binary' and BINARY or 0
	if rule.size == 0 then
		if flags == 0 then
			redis.call('PUBLISH', PREFIX .. name, payload)
		else
			send(name, flags, payload)
		end
		return { 0, '' }
	end
	local seen = key_of(name, 'key:' .. key)
	local first = key ~= '' and redis.call('GET', seen)
	if first then
		local offset, epoch = string.match(first, '^(%d+) (%w+)$')
		return { tonumber(offset), epoch }
	end
	local at = stand(name)
	at.offset = at.offset + 1
	local added = append(at, rule, kind, payload)
	if type(added) == 'table' and string.find(added.err, 'equal or smaller', 1, true) then
		-- The log is not that of meta: somebody has put one of them back.
		redis.call('DEL', at.log, at.meta)
		at = stand(name)
		at.offset = 1
		added = append(at, rule, kind, payload)
	end
	if type(added) == 'table' and added.err then
		return added
	end
	redis.call('PEXPIRE', at.log, digits(rule.ttl))
	settle(at, rule.ttl)
	if key ~= '' then
		redis.call('SET', seen, digits(at.offset) .. ' ' .. at.epoch, 'PX',
		    digits(rule.ttl))
	end
	send(name, flags + POSITION, payload,
	    struct.pack('>I8B', at.offset, #at.epoch) .. at.epoch)
	return { at.offset, at.epoch }
end

-- Packs entries, which XRANGE gave, as common/records.h has them, into out.  false: no more fit.
local function pack(out, entries, limits)
	for _, entry in ipairs(entries) do
		local kind, payload = entry[2][1], entry[2][2]
		if #out == limits.count or (#out > 0 and limits.bytes < #payload) then
			return false
		end
		limits.bytes = limits.bytes - #payload - 13
		out[#out + 1] = struct.pack(limits.order .. 'I8I4Bc0',
		    tonumber(string.match(entry[1], '^%d+')), #payload, kind == 'binary' and 1 or 0,
		    payload)
	end
	return true
end

-- The messages on one side of `after`, the nearest first.
local function read(log, after, reverse, limits)
	local out, entries = {}
	local from = digits(after + 1) .. '-0'
	if reverse then
		from = after > 0 and digits(after - 1) or '+'
	end
	repeat
		local count = math.min(BATCH, limits.count - #out)
		entries = redis.call(reverse and 'XREVRANGE' or 'XRANGE', log, from,
		    reverse and '-' or '+', 'COUNT', count)
		if not pack(out, entries, limits) or #entries < count or count == 0 then
			break
		end
		local last = tonumber(string.match(entries[#entries][1], '^%d+'))
		from = reverse and digits(last - 1) or digits(last + 1) .. '-0'
	until #out == limits.count
	return table.concat(out)
end

-- ARGV: after, limit, bytes, '1' for reverse, '<' or '>' for the order of bytes.  As
-- engine_history; answers with offset, epoch, records.
local function history(keys, args)
	local name, after, limit = keys[1], tonumber(args[1] or 0), tonumber(args[2] or 0)
	local rule, reverse = rule_of(name), args[4] == '1'
	if not rule then
		return failed('this is no channel\'s name')
	elseif rule.size == 0 then
		return { 0, '', '' }
	end
	local at, records = stand(name), ''
	touch(at, rule.ttl)
	if limit > 0 and (reverse or after < at.offset) then
		if after > at.offset then
			after = 0
		end
		records = read(at.log, after, reverse,
		    { count = limit, bytes = tonumber(args[3] or 0), order = args[5] or '<' })
	end
	return { at.offset, at.epoch, records }
end

-- Drops the history.  Answers with the position.
local function forget(keys)
	local name = keys[1]
	local rule = rule_of(name)
	if not rule then
		return failed('this is no channel\'s name')
	end
	redis.call('DEL', key_of(name, 'log'))
	if rule.size == 0 then
		return { 0, '' }
	end
	local at = stand(name)
	touch(at, rule.ttl)
	return { at.offset, at.epoch }
end

-- A hub has come, or looks at the settings again.  ARGV: '1' if they say that every write is on
-- disk before it is answered; for how many milliseconds that may be believed.
local function attach(_, args)
	local _, info = server()
	local now = milliseconds()
	local second, lease = math.floor(now / 1000), key_of('!server', 'trust')
	from_aof()
	durable_until, trusted_since = 0, nil
	if args[1] ~= '1' or not alone(info) then
		-- What is written from now on may be lost.
		redis.call('DEL', lease)
		return 1
	end
	durable_until = now + tonumber(args[2])
	-- No process but this has written after the second in which it began.
	trusted_since = trust(second) or math.max(began(second), second - 1)
	redis.call('HSET', lease, 'run', run_id, 'since', trusted_since, 'seen', second,
	    'over', math.ceil(durable_until / 1000))
	return 1
end

-- --- presence ---------------------------------------------------------------------------------
--
-- A node's members carry its id.  It has a lease, which ends at its score in a sorted set, and
-- which cannot be had again once it is over: then others may have begun to sweep.

local ESCAPES = { ['"'] = '\\"', ['\\'] = '\\\\', ['\b'] = '\\b', ['\f'] = '\\f', ['\n'] = '\\n',
	['\r'] = '\\r', ['\t'] = '\\t' }

local function quote(text)
	return '"' .. string.gsub(text, '[%z\1-\31"\\]', function(c)
		return ESCAPES[c] or string.format('\\u%04x', string.byte(c))
	end) .. '"'
end

-- Takes a packed member (common/member.h) apart.
local function unpack_member(packed)
	local client_len = string.byte(packed, 1)
	local user_at = 2 + client_len
	local user_len = string.byte(packed, user_at)
	return string.sub(packed, 2, 1 + client_len),
	    string.sub(packed, user_at + 1, user_at + user_len),
	    string.sub(packed, user_at + user_len + 5)
end

-- Tells those who are subscribed.
local function tell(name, flag, packed)
	local client, user, info = unpack_member(packed)
	send(name, flag, '{"client":' .. quote(client) ..
	    (user ~= '' and ',"user":' .. quote(user) or '') ..
	    (info ~= '' and ',"info":' .. info or '') .. '}')
end

-- Whom a member counts for: a user, or itself.
local function whom(packed)
	local client, user = unpack_member(packed)
	return user ~= '' and 'user:' .. user or 'client:' .. client
end

local function count(users, who, by)
	local now = redis.call('HINCRBY', users, who, by)
	if now <= 0 then
		redis.call('HDEL', users, who)
	end
	return now
end

-- Takes one member out, of whom packed is known.
local function remove(name, rule, member, packed)
	redis.call('HDEL', key_of(name, 'members'), member)
	if count(key_of(name, 'users'), whom(packed), -1) <= 0 and rule.join_leave then
		tell(name, LEAVE, packed)
	end
end

-- Of this node in the channel.
local function count_node(name, node, by)
	return count(key_of(name, 'users'), 'node:' .. node, by)
end

-- ARGV: node, client, packed member.  Answers with the number of the node's members in the
-- channel.
local function join(keys, args)
	local name, node, packed = keys[1], args[1], args[3]
	local members, users = key_of(name, 'members'), key_of(name, 'users')
	local member, rule = node .. ':' .. args[2], rule_of(name)
	if not rule then
		return failed('this is no channel\'s name')
	end
	local old = redis.call('HGET', members, member)
	redis.call('HSET', members, member, packed)
	if old and whom(old) == whom(packed) then
		return tonumber(redis.call('HGET', users, 'node:' .. node)) or 0
	end
	if count(users, whom(packed), 1) == 1 and rule.join_leave then
		tell(name, JOIN, packed)
	end
	if not old then
		return count_node(name, node, 1)
	end
	if count(users, whom(old), -1) <= 0 and rule.join_leave then
		tell(name, LEAVE, old)
	end
	return tonumber(redis.call('HGET', users, 'node:' .. node)) or 0
end

-- ARGV: node, client.  Answers as join.
local function leave(keys, args)
	local name, node, member = keys[1], args[1], args[1] .. ':' .. args[2]
	local packed = redis.call('HGET', key_of(name, 'members'), member)
	if not packed then
		return tonumber(redis.call('HGET', key_of(name, 'users'), 'node:' .. node)) or 0
	end
	remove(name, rule_of(name), member, packed)
	return count_node(name, node, -1)
end

-- Answers with the members as one string.
local function presence(keys)
	local name, live, seen, out = keys[1], {}, {}, {}
	if not rule_of(name) then
		return failed('this is no channel\'s name')
	end
	local now = digits(milliseconds())
	for _, node in ipairs(redis.call('ZRANGEBYSCORE', key_of('!nodes', 'leases'), '(' .. now,
	    '+inf')) do
		live[node] = true
	end
	local all = redis.call('HGETALL', key_of(name, 'members'))
	for i = 1, #all, 2 do
		local node, client = string.match(all[i], '^(.-):(.*)$')
		if live[node] and not seen[client] then
			seen[client] = true
			out[#out + 1] = all[i + 1]
		end
	end
	return table.concat(out)
end

-- ARGV: node, its lease in milliseconds, '1' if it is new.  Answers whether it has the lease (1
-- or 0), and with a node whose lease is over, or ''.
local function renew(_, args)
	local leases, now = key_of('!nodes', 'leases'), milliseconds()
	local score = tonumber(redis.call('ZSCORE', leases, args[1]) or 0)
	local has = args[3] == '1' or score > now
	if has then
		redis.call('ZADD', leases, digits(now + tonumber(args[2])), args[1])
	end
	local over = redis.call('ZRANGEBYSCORE', leases, '-inf', digits(now), 'LIMIT', 0, 1)[1]
	if over then
		-- For good, whatever becomes of the clock.
		redis.call('ZADD', leases, 0, over)
	end
	return { has and 1 or 0, over or '' }
end

-- ARGV: a node whose lease is over.  Some of the channels in which it had members, one a line; ''
-- if that was the last of it.
local function places(_, args)
	local names = redis.call('SRANDMEMBER', key_of('!nodes', 'of:' .. args[1]), BATCH)
	if #names == 0 then
		redis.call('ZREM', key_of('!nodes', 'leases'), args[1])
	end
	return table.concat(names, '\n')
end

-- Takes out some members of a node whose lease is over.  ARGV: node, cursor.  Answers with the
-- next cursor; '0': that was all.
local function sweep(keys, args)
	local name, node = keys[1], args[1]
	local rule = rule_of(name)
	if not rule then
		return '0'
	end
	local found = redis.call('HSCAN', key_of(name, 'members'), args[2], 'MATCH', node .. ':*',
	    'COUNT', 500)
	for i = 1, #found[2], 2 do
		-- A scan may show one twice.
		if redis.call('HEXISTS', key_of(name, 'members'), found[2][i]) == 1 then
			remove(name, rule, found[2][i], found[2][i + 1])
		end
	end
	if found[1] == '0' then
		redis.call('HDEL', key_of(name, 'users'), 'node:' .. node)
	end
	return found[1]
end

-- --- what is called ---------------------------------------------------------------------------

local function version()
	return VERSION
end

-- What gives memory back, or needs next to none, is done even when Redis has none left.  Nodes call
-- by names with the version in them, so that they never use another node's rules unawares.
local functions = {
	{ 'version', version, 'no-writes' },
	{ 'publish', publish },
	{ 'history', history, 'allow-oom' },
	{ 'forget', forget, 'allow-oom' },
	{ 'attach', attach, 'allow-oom' },
	{ 'join', join },
	{ 'leave', leave, 'allow-oom' },
	{ 'presence', presence, 'allow-oom' },
	{ 'renew', renew, 'allow-oom' },
	{ 'places', places, 'allow-oom' },
	{ 'sweep', sweep, 'allow-oom' },
}

-- While a library loads it has none of Lua's own functions.
for i = 1, #functions do
	local f = functions[i]
	if not SCRIPT then
		redis.register_function({ function_name = WORD .. '_' .. f[1], callback = f[2],
			flags = { f[3] } })
		redis.register_function({ function_name = WORD .. '_' .. VERSION .. '_' .. f[1],
			callback = f[2], flags = { f[3] } })
	elseif f[1] == ARGV[1] then
		table.remove(ARGV, 1)
		return f[2](KEYS, ARGV)
	end
end
if SCRIPT then
	return failed('there is no such function')
end
