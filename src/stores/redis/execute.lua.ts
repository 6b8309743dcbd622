/**
 * The Lua twin of `core/`: the same names in the same order, see there for the reasons. It is a string and not a file,
 * so that bundlers carry it along. Change both twins in one commit.
 */
export const EXECUTE_LUA = `
-- Carries requests out on buckets, one after the other, at one instant.
-- KEYS     the buckets' keys, in the order in which the requests name them; of a replacement also the new one
-- ARGV[1]  numbers, as a JSON array:
--   now in ms (-1: the server's time), least TTL in ms, latest server time in ms (-1: any)
--   number of policies; of each: block in ms, number of limits; of each limit:
--     kind (0 bucket, 1 window), capacity, weight, refill, period, slot
--   then runs of requests that differ in nothing but their keys; of each: verb, number of requests, number of takes;
--     of each take: policy (from 1), amount, maxWait in ms (-1: any)
--     and how many more words, and these: cancel: actAt per take; block: duration;
--     replace: policy, strategy, for each new limit the old one that it takes over from (0: none)
-- Reply    the rows of all requests behind each other as doubles in one string (see answer.ts). The row of a request
--          whose buckets cannot be read is one -2; then there is a list of that string and of those that tell why. If
--          all came too late there is only -1 and the server's time: nothing was done
local TAKE, ESTIMATE, CHARGE, TAKE_UP_TO, PUT, CANCEL, RESET, BLOCK, UNBLOCK, REPLACE = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
local AMOUNT_PER_TOKEN, MAX_SAFE_INTEGER, MOST_EXACT, EXACT_WINDOW = 1000, 9007199254740991, 256, 128
local LONGEST_TOLD = 4503599627370496
local INFINITY, NEVER = math.huge, -1
local floor, ceil, min, max = math.floor, math.ceil, math.min, math.max
local KEYS, call, packs, unpacks = KEYS, redis.call, struct.pack, struct.unpack

local function whole(value)
  return type(value) == 'number' and value % 1 == 0 and value >= 0 and value <= MAX_SAFE_INTEGER
end

-- Numbers as doubles: quick to write, and quick to read in Node. Many are packed in parts, as Lua's stack has an end.
local pack
function pack(numbers, from, to)
  if to - from >= 400 then return pack(numbers, from, from + 399) .. pack(numbers, from + 400, to) end
  return packs('<' .. string.rep('d', to - from + 1), unpack(numbers, from, to))
end

local words = cjson.decode(ARGV[1])
local place = 0
local function word()
  place = place + 1
  return words[place]
end

local now, leastTtl, latest = word(), word(), word()
local serverTime = call('TIME')
local serverNow = serverTime[1] * 1000 + floor(serverTime[2] / 1000)
if latest >= 0 and serverNow > latest then return pack({ -1, serverNow }, 1, 2) end
if now < 0 then now = serverNow end

local policies = {}
for p = 1, word() do
  local policy = { block = word(), buckets = true }
  for i = 1, word() do
    local window = word() == 1
    local limit = { window = window, capacity = word(), weight = word(), refill = word(), period = word(), slot = word() }
    policy[i] = limit
    policy.buckets = policy.buckets and not window and limit.refill > 0
    -- The period that it is now, and how long ago it began.
    limit.tick = floor(now / limit.period)
    limit.past = now - limit.tick * limit.period
  end
  policy.buckets = policy.buckets and #policy <= 3
  policy.window = #policy == 1 and policy[1].window
  policy.size = 8 * (3 + #policy)
  policy.format = '<ddd' .. string.rep('d', #policy)
  policies[p] = policy
end

-- The requests that are still to be carried out: this run of them, how many are left of it, and the next one's key.

local opened, rows, size, problems = {}, {}, 0, {}
local run, left, nextKey = { verb = 0 }, 0, 1

-- Whether there is a request left; then \`run\` is what it asks for.
local function more()
  if left > 0 then return true end
  if place == #words then return false end
  run = { verb = word(), more = {} }
  left = word()
  for i = 1, word() do run[i] = { policy = policies[word()], amount = word(), maxWait = word() } end
  for i = 1, word() do run.more[i] = word() end
  return true
end

-- What follows is the same as decide for what nearly every request is: a take from one policy, of at most three buckets
-- that refill or of one window, which nothing else has opened, at once or not at all. False where it is not that simple;
-- then nothing has been done. A table or a call of a function costs more than what is calculated here, so the functions
-- of token-bucket.ts and sliding-window.ts are written out.

-- Whether a state was written by now, and nobody is blocked or waits.
local function calm(at, blockedUntil, lineEnd)
  return at % 1 == 0 and at >= 0 and at <= now and blockedUntil == 0 and lineEnd % 1 == 0 and lineEnd >= 0 and lineEnd <= now
end

local debts, waits = {}, {}
local function quickTake(policy, key, amount, maxWait)
  if opened[key] then return false end
  local stored = call('GET', key)
  local at = now
  debts[1], debts[2], debts[3] = 0, 0, 0
  if stored then
    if #stored ~= policy.size then return false end
    local blockedUntil, lineEnd
    at, blockedUntil, lineEnd, debts[1], debts[2], debts[3] = unpacks(policy.format, stored)
    if not calm(at, blockedUntil, lineEnd) then return false end
  end
  local longest = 0
  for i = 1, #policy do
    local limit, debt = policy[i], debts[i]
    if debt ~= 0 then
      if debt % 1 ~= 0 or debt < 0 or debt > MAX_SAFE_INTEGER then return false end
      local period = limit.period
      local gained = (limit.tick - (at - at % period) / period) * limit.refill
      debt = gained < debt and debt - gained or 0
    end
    local units, wait = amount * limit.weight, 0
    local over = debt + units - limit.capacity
    if over > 0 then
      wait = units > limit.capacity and INFINITY or min(ceil(over / limit.refill) * limit.period - limit.past, LONGEST_TOLD)
      if wait > longest then longest = wait end
    end
    debts[i], waits[i] = debt, wait
  end
  local allowed = longest == 0
  if not allowed and (maxWait ~= 0 or policy.block > 0) then return false end
  local n, ttl = size + 5, 0
  rows[n - 4], rows[n - 3], rows[n - 2], rows[n - 1] = allowed and 1 or 0, 0, allowed and amount or 0, now
  rows[n] = longest == INFINITY and NEVER or longest
  for i = 1, #policy do
    local limit, debt, wait = policy[i], debts[i], waits[i]
    local weight, capacity, refill, period = limit.weight, limit.capacity, limit.refill, limit.period
    if allowed then
      debt = debt + amount * weight
      debts[i] = debt
    end
    local reset, more = 0, 0
    if debt > 0 then
      local token = AMOUNT_PER_TOKEN * weight
      local units = token - (capacity - debt) % token
      if units > debt then units = debt end
      reset = ceil(debt / refill) * period - limit.past
      more = ceil(units / refill) * period - limit.past
      if reset > LONGEST_TOLD then reset = LONGEST_TOLD end
      if more > LONGEST_TOLD then more = LONGEST_TOLD end
      if reset > ttl then ttl = reset end
    end
    rows[n + 1], rows[n + 2], rows[n + 3], rows[n + 4] = capacity - debt, wait == INFINITY and NEVER or wait, reset, more
    n = n + 4
  end
  if allowed then
    local value = packs(policy.format, now, 0, 0, debts[1], debts[2], debts[3])
    call('SET', key, value, 'PX', ttl < leastTtl and leastTtl or ttl)
  end
  size = n
  return true
end

-- Of a window only the ends are looked at, however many admissions there are.
local function quickWindow(policy, key, amount, maxWait)
  if opened[key] then return false end
  local limit, stored = policy[1], call('GET', key)
  local period, capacity, slot = limit.period, limit.capacity, limit.slot
  local sum, count, place = 0, 0, 41
  local oldest, newest, taken
  if stored then
    if #stored < 40 then return false end
    local at, blockedUntil, lineEnd
    at, blockedUntil, lineEnd, sum, count = unpacks('<ddddd', stored)
    if not calm(at, blockedUntil, lineEnd) or #stored ~= 40 + 16 * count then return false end
    while count > 0 do
      oldest, taken = unpacks('<dd', stored, place)
      if not (oldest + period <= now) then break end
      sum, count, place = sum - taken, count - 1, place + 16
    end
    if count > 0 then
      newest, taken = unpacks('<dd', stored, #stored - 15)
      if not (whole(sum) and whole(oldest) and whole(newest) and whole(taken)) then return false end
    elseif sum ~= 0 then
      return false
    end
  end
  local over, wait = sum + amount - capacity, 0
  local allowed = over <= 0
  if allowed then
    local time, entries = slot == 1 and now or ceil(now / slot) * slot, ''
    if count > 0 then
      if newest > time or count == MOST_EXACT then return false end
      -- What came in the same slot is one entry.
      entries = string.sub(stored, place, newest == time and -17 or -1)
      if newest == time then count = count - 1 else taken = 0 end
    else
      oldest, taken = time, 0
    end
    sum, count, newest = sum + amount, count + 1, time
    local value = packs('<ddddd', now, 0, 0, sum, count) .. entries .. packs('<dd', time, taken + amount)
    call('SET', key, value, 'PX', max(time + period - now, leastTtl))
  else
    if maxWait ~= 0 or policy.block > 0 or amount > capacity then return false end
    local gone
    while over > 0 do
      gone, taken = unpacks('<dd', stored, place)
      over, place = over - taken, place + 16
    end
    wait = gone + period - now
    if not whole(wait) then return false end
  end
  local n = size
  rows[n + 1], rows[n + 2], rows[n + 3], rows[n + 4] = allowed and 1 or 0, 0, allowed and amount or 0, now
  rows[n + 5], rows[n + 6], rows[n + 7] = wait, capacity - sum, wait
  rows[n + 8], rows[n + 9] = newest + period - now, oldest + period - now
  size = n + 9
  return true
end

-- Carries requests out until one comes that is not that simple.
local function quickTakes()
  while more() do
    local take = run[1]
    local quick = take.policy.buckets and quickTake or take.policy.window and quickWindow
    if run.verb ~= TAKE or #run > 1 or not quick or take.amount == 0 then return end
    while left > 0 do
      if not quick(take.policy, KEYS[nextKey], take.amount, take.maxWait) then return end
      nextKey, left = nextKey + 1, left - 1
    end
  end
end

-- Where a key holds something else, all that follows goes the long way, which tells of it.
pcall(quickTakes)
if not more() then return pack(rows, 1, size) end

-- token-bucket.ts

local function boundaries(limit, from, to)
  if limit.period == 1 then return to - from end
  return floor(to / limit.period) - floor(from / limit.period)
end

local function debtAt(limit, debt, at, now)
  if debt == 0 then return 0 end
  local gained = boundaries(limit, at, now) * limit.refill
  if gained >= debt then return 0 end
  return debt - gained
end

local function timeFor(limit, units, now)
  if units <= 0 then return 0 end
  if limit.refill == 0 then return INFINITY end
  local steps = ceil(units / limit.refill)
  if limit.period == 1 then return min(steps, LONGEST_TOLD) end
  return min((floor(now / limit.period) + steps) * limit.period - now, LONGEST_TOLD)
end

local function bucketWait(limit, debt, units, now)
  if debt + units <= limit.capacity then return 0 end
  if units > limit.capacity then return INFINITY end
  return timeFor(limit, debt + units - limit.capacity, now)
end

local function bucketMore(limit, debt, now)
  local token = AMOUNT_PER_TOKEN * limit.weight
  local balance = limit.capacity - debt
  return timeFor(limit, min(debt, (floor(balance / token) + 1) * token - balance), now)
end

local function bucketTake(limit, debt, units, now, own, wait)
  local held = debt
  if own < wait or limit.period > 1 then held = max(debt, boundaries(limit, now, now + wait) * limit.refill) end
  return min(held + units, MAX_SAFE_INTEGER)
end

local function bucketCancel(limit, debt, units, now, actAt, lineEnd)
  local beyond = debt - limit.capacity - boundaries(limit, now, actAt) * limit.refill
  local behind = max(beyond, boundaries(limit, actAt, lineEnd) * limit.refill)
  return max(0, debt - max(0, units - max(0, behind)))
end

-- sliding-window.ts; a log is { sum = …, times = {…}, amounts = {…} }, without a head

local function newLog() return { sum = 0, times = {}, amounts = {} } end

local function inSlot(time, slot)
  if slot == 1 then return time end
  return ceil(time / slot) * slot
end

local function slotOf(period) return max(1, floor(period / EXACT_WINDOW)) end

local function expire(limit, log, now)
  local times, amounts = {}, {}
  for i = 1, #log.times do
    if log.times[i] + limit.period > now then
      times[#times + 1] = log.times[i]
      amounts[#amounts + 1] = log.amounts[i]
    else
      log.sum = log.sum - log.amounts[i]
    end
  end
  log.times, log.amounts = times, amounts
end

local function windowWait(limit, log, amount, now)
  local over = log.sum + amount - limit.capacity
  if over <= 0 then return 0 end
  if amount > limit.capacity then return INFINITY end
  local i = 0
  while over > 0 do
    i = i + 1
    over = over - log.amounts[i]
  end
  return log.times[i] + limit.period - now
end

local function windowReset(limit, log, now)
  if log.sum <= 0 then return 0 end
  return log.times[#log.times] + limit.period - now
end

local function windowMore(limit, log, now)
  if log.sum <= 0 then return 0 end
  return log.times[1] + limit.period - now
end

local function merge(log, slot)
  local times, amounts = {}, {}
  for i = 1, #log.times do
    local time = inSlot(log.times[i], slot)
    if times[#times] == time then
      amounts[#times] = amounts[#times] + log.amounts[i]
    else
      times[#times + 1] = time
      amounts[#times] = log.amounts[i]
    end
  end
  log.times, log.amounts = times, amounts
end

local function admit(limit, log, asked, at)
  local times, amounts = log.times, log.amounts
  local amount = min(asked, MAX_SAFE_INTEGER - log.sum)
  local time = inSlot(at, limit.slot)
  local index = #times
  while index > 0 and times[index] > time do index = index - 1 end
  log.sum = log.sum + amount
  if index > 0 and times[index] == time then
    amounts[index] = amounts[index] + amount
  else
    table.insert(times, index + 1, time)
    table.insert(amounts, index + 1, amount)
  end
  if #times > MOST_EXACT and limit.slot == 1 then merge(log, slotOf(limit.period)) end
end

local function reduce(log, index, amount)
  local taken = min(amount, log.amounts[index])
  log.amounts[index] = log.amounts[index] - taken
  log.sum = log.sum - taken
  if log.amounts[index] == 0 then
    table.remove(log.times, index)
    table.remove(log.amounts, index)
  end
  return taken
end

local function takeBack(limit, log, amount, now)
  local latest = inSlot(now, limit.slot)
  local index = #log.times
  while index > 0 and log.times[index] > latest do index = index - 1 end
  while index > 0 and amount > 0 do
    amount = amount - reduce(log, index, amount)
    index = index - 1
  end
end

local function cancelAdmission(limit, log, amount, actAt)
  local time = inSlot(actAt, limit.slot)
  local index, behind = #log.times, 0
  while index > 0 and log.times[index] > time do
    behind = behind + log.amounts[index]
    index = index - 1
  end
  if index > 0 and amount > behind then reduce(log, index, amount - behind) end
end

-- bucket-state.ts; a state is { at = …, blockedUntil = …, lineEnd = …, [i] = debt or log }

local function forget(policy, state)
  state.blockedUntil, state.lineEnd = 0, 0
  for i, limit in ipairs(policy) do state[i] = limit.window and newLog() or 0 end
end

local function fillTime(policy)
  local longest = 0
  for _, limit in ipairs(policy) do
    longest = max(longest, limit.window and limit.period or timeFor(limit, limit.capacity, 0))
  end
  return longest
end

local function advance(policy, state, now)
  local ahead = state.at - now
  if ahead > 0 then
    if ahead <= max(fillTime(policy), state.blockedUntil - state.at) then return end
    forget(policy, state)
  end
  for i, limit in ipairs(policy) do
    if limit.window then expire(limit, state[i], now) else state[i] = debtAt(limit, state[i], state.at, now) end
  end
  state.at = now
  if state.blockedUntil <= now then state.blockedUntil = 0 end
  if state.lineEnd <= now then state.lineEnd = 0 end
end

local function waitOf(limit, state, i, amount)
  if limit.window then return windowWait(limit, state[i], amount, state.at) end
  return bucketWait(limit, state[i], amount * limit.weight, state.at)
end

local function take(policy, state, amount, wait)
  for i, limit in ipairs(policy) do
    if limit.window then
      admit(limit, state[i], amount, state.at + wait)
    else
      local units = amount * limit.weight
      local own = wait == 0 and 0 or bucketWait(limit, state[i], units, state.at)
      state[i] = bucketTake(limit, state[i], units, state.at, own, wait)
    end
  end
  if wait > 0 then state.lineEnd = max(state.lineEnd, state.at + wait) end
  state.changed = true
end

local function give(policy, state, amount)
  for i, limit in ipairs(policy) do
    if limit.window then takeBack(limit, state[i], amount, state.at)
    else state[i] = max(0, state[i] - amount * limit.weight) end
  end
  state.changed = true
end

local function endOfLine(policy, state)
  local last = 0
  for i, limit in ipairs(policy) do
    if limit.window then last = max(last, state[i].sum > 0 and state[i].times[#state[i].times] or 0)
    elseif limit.refill > 0 then last = max(last, state.at + bucketWait(limit, state[i], 0, state.at)) end
  end
  return last > state.at and last or 0
end

local function cancel(policy, state, amount, actAt)
  if actAt <= state.at then return end
  for i, limit in ipairs(policy) do
    if limit.window then cancelAdmission(limit, state[i], amount, actAt)
    else state[i] = bucketCancel(limit, state[i], amount * limit.weight, state.at, actAt, state.lineEnd) end
  end
  if actAt == state.lineEnd then state.lineEnd = endOfLine(policy, state) end
  state.changed = true
end

local function balanceOf(limit, state, i)
  return limit.capacity - (limit.window and state[i].sum or state[i])
end

local function resetOf(limit, state, i)
  if limit.window then return windowReset(limit, state[i], state.at) end
  return timeFor(limit, state[i], state.at)
end

local function moreOf(limit, state, i)
  if limit.window then return windowMore(limit, state[i], state.at) end
  return bucketMore(limit, state[i], state.at)
end

local function lifetime(policy, state, now)
  local reset = max(0, state.blockedUntil - state.at)
  for i, limit in ipairs(policy) do reset = max(reset, resetOf(limit, state, i)) end
  if reset == 0 then return 0 end
  return state.at - now + reset
end

-- Where states are kept: as doubles: at, blockedUntil, lineEnd and for each limit its debt, or of a window its sum, how
-- many admissions there are, and time and amount of each.

local NO_BUCKET = 'its value is not a bucket'
local emptied = {}
local reading

-- Reads what is stored, number by number.
local function reader(stored)
  if #stored % 8 ~= 0 then error(NO_BUCKET, 0) end
  local numbers, place = {}, 0
  for start = 1, #stored, 8 * 200 do
    local part = string.sub(stored, start, start + 8 * 200 - 1)
    local read = { unpacks('<' .. string.rep('d', #part / 8), part) }
    for i = 1, #read - 1 do numbers[#numbers + 1] = read[i] end
  end
  return function()
    place = place + 1
    if whole(numbers[place]) then return numbers[place] end
    error(NO_BUCKET, 0)
  end
end

local function open(policy, key)
  local state = opened[key]
  if not state then
    state = { at = 0, policy = policy, key = key }
    reading = key
    local stored = call('GET', key)
    forget(policy, state)
    if stored then
      local read = reader(stored)
      state.stored, state.at = stored, read()
      state.blockedUntil, state.lineEnd = read(), read()
      for i, limit in ipairs(policy) do
        if limit.window then
          local log = state[i]
          local sum = read()
          for k = 1, read() do
            log.times[k], log.amounts[k] = read(), read()
            log.sum = log.sum + log.amounts[k]
          end
          if log.sum ~= sum then error(NO_BUCKET, 0) end
        else
          state[i] = read()
        end
      end
    end
    opened[key] = state
  end
  advance(policy, state, now)
  return state
end

local function save(state)
  local policy = state.policy
  local ttl = lifetime(policy, state, now)
  if ttl == 0 then
    if state.stored then emptied[#emptied + 1] = state.key end
    return
  end
  local numbers = { state.at, state.blockedUntil, state.lineEnd }
  for i, limit in ipairs(policy) do
    local log = state[i]
    if limit.window then
      numbers[#numbers + 1] = log.sum
      numbers[#numbers + 1] = #log.times
      for k = 1, #log.times do
        numbers[#numbers + 1] = log.times[k]
        numbers[#numbers + 1] = log.amounts[k]
      end
    else
      numbers[#numbers + 1] = state[i]
    end
  end
  local value = pack(numbers, 1, #numbers)
  if ttl == INFINITY then
    call('SET', state.key, value)
  else
    call('SET', state.key, value, 'PX', max(ttl, leastTtl))
  end
end

-- replace.ts; which limit takes over from which was matched by the caller

local function carriedDebt(old, balance, limit, strategy)
  local amount = balance / old.weight
  local capacity = limit.capacity / limit.weight
  local carried = amount
  if strategy == 2 then carried = (amount * capacity) / (old.capacity / old.weight)
  elseif strategy == 3 then carried = amount + max(0, capacity - old.capacity / old.weight) end
  local debt = ceil(limit.capacity - carried * limit.weight - 1e-6)
  return min(max(0, debt), MAX_SAFE_INTEGER)
end

local function replace(from, source, to, target, strategy, matches)
  forget(to, target)
  target.at = source.at
  target.changed = true
  if strategy == 0 then return end
  target.blockedUntil = source.blockedUntil
  for i, limit in ipairs(to) do
    local k = matches[i]
    local old = from[k]
    if old then
      if limit.window then
        for n = 1, #source[k].times do admit(limit, target[i], source[k].amounts[n], source[k].times[n]) end
      else
        target[i] = carriedDebt(old, balanceOf(old, source, k), limit, strategy)
      end
    end
  end
end

-- execute.ts

local function refuses(state, wait, maxWait)
  return state.blockedUntil > 0 or (maxWait >= 0 and wait > maxWait) or wait == INFINITY
end

local function longestWait(policy, state, amount)
  local longest = 0
  for i, limit in ipairs(policy) do longest = max(longest, waitOf(limit, state, i, amount)) end
  if longest == 0 then return 0 end
  return state.at - now + longest
end

local function wholeTokens(policy, state)
  local least = INFINITY
  for i, limit in ipairs(policy) do least = min(least, balanceOf(limit, state, i) / limit.weight) end
  return max(0, floor(least / AMOUNT_PER_TOKEN)) * AMOUNT_PER_TOKEN
end

local function push(number)
  size = size + 1
  rows[size] = number
end

local function time(ms, ahead, atLeast)
  if ms == INFINITY then return NEVER end
  return max(ms == 0 and 0 or ahead + ms, atLeast)
end

local function describe(policy, state, retry, amount)
  local ahead = state.at - now
  local blocked = state.blockedUntil > 0 and state.blockedUntil - now or 0
  for i, limit in ipairs(policy) do
    local balance = balanceOf(limit, state, i)
    local wait = retry and waitOf(limit, state, i, amount) or 0
    local reset = resetOf(limit, state, i)
    push(blocked > 0 and min(balance, 0) or balance)
    push(time(wait, ahead, retry and blocked or 0))
    push(time(reset, ahead, blocked))
    push(time(moreOf(limit, state, i), ahead, blocked))
  end
end

local function head(allowed, delay, taken)
  push(allowed and 1 or 0)
  push(delay)
  push(taken)
  push(now)
end

-- A copy that is thrown away, for what only looks. A state is made of tables in two levels and of its policy.
local copy
function copy(state)
  local other = {}
  for name, value in pairs(state) do
    other[name] = (type(value) == 'table' and name ~= 'policy') and copy(value) or value
  end
  return other
end

local function decide(takes)
  local allowed, delay = true, 0
  for _, t in ipairs(takes) do
    t.wait = longestWait(t.policy, t.state, t.amount)
    if refuses(t.state, t.wait, t.maxWait) then allowed = false elseif t.wait > delay then delay = t.wait end
  end
  head(allowed, allowed and delay or 0, allowed and takes[1].amount or 0)
  for _, t in ipairs(takes) do
    local policy, state = t.policy, t.state
    if allowed then
      if t.amount > 0 then take(policy, state, t.amount, t.wait > 0 and t.wait - (state.at - now) or 0) end
    elseif policy.block > 0 and state.blockedUntil == 0 and refuses(state, t.wait, t.maxWait) then
      state.blockedUntil = state.at + policy.block
      state.changed = true
    end
    push(t.wait == INFINITY and NEVER or t.wait)
    describe(policy, state, not allowed, t.amount)
  end
end

local function execute(verb, takes, words)
  if verb == TAKE then return decide(takes) end
  if verb == ESTIMATE then
    for _, t in ipairs(takes) do t.state = copy(t.state) end
    return decide(takes)
  end
  local policy, state, amount = takes[1].policy, takes[1].state, takes[1].amount
  local taken = 0
  if verb == CHARGE then
    taken = amount
    take(policy, state, taken, 0)
  elseif verb == TAKE_UP_TO then
    taken = state.blockedUntil > 0 and 0 or min(amount, wholeTokens(policy, state))
    if taken > 0 then take(policy, state, taken, 0) end
  elseif verb == PUT then
    for _, t in ipairs(takes) do give(t.policy, t.state, t.amount) end
  elseif verb == CANCEL then
    for i, t in ipairs(takes) do cancel(t.policy, t.state, t.amount, words[i]) end
  elseif verb == BLOCK then
    state.blockedUntil = state.at + words[1]
    state.changed = true
  elseif verb == UNBLOCK then
    state.changed = state.changed or state.blockedUntil > 0
    state.blockedUntil = 0
  elseif verb == REPLACE then
    local to, target, matches = takes.target.policy, takes.target.state, {}
    for i = 1, #to do matches[i] = words[2 + i] end
    replace(policy, state, to, target, words[2], matches)
    forget(policy, state)
    state.changed = true
  elseif verb == RESET then
    forget(policy, state)
    state.changed = true
  end
  head(true, 0, taken)
  for _, t in ipairs(takes) do
    push(0)
    describe(t.policy, t.state, true, 0)
    if verb ~= CHARGE and verb ~= TAKE_UP_TO and verb ~= BLOCK then call('PUBLISH', t.state.key, '') end
  end
end

local function openAll(takes)
  for _, t in ipairs(takes) do t.state = open(t.policy, t.key) end
end

-- Carries the next request out.
local function step()
  local takes = {}
  for i, t in ipairs(run) do
    takes[i] = { policy = t.policy, amount = t.amount, maxWait = t.maxWait, key = KEYS[nextKey] }
    nextKey = nextKey + 1
  end
  if run.verb == REPLACE then
    takes.target = { policy = policies[run.more[1]], key = KEYS[nextKey] }
    nextKey = nextKey + 1
  end
  left = left - 1
  -- A key that holds something else spoils its own request only: nothing has been changed by then.
  local readable, problem = pcall(openAll, takes)
  if readable and takes.target then readable, problem = pcall(openAll, { takes.target }) end
  if readable then return execute(run.verb, takes, run.more) end
  push(-2)
  problems[#problems + 1] = reading .. ': ' .. (type(problem) == 'table' and problem.err or tostring(problem))
end

repeat
  step()
  pcall(quickTakes)
until not more()
for _, state in pairs(opened) do
  if state.changed then save(state) end
end
-- Last, because a full Redis still deletes: so it does all of a request or nothing.
for _, key in ipairs(emptied) do call('DEL', key) end
return { pack(rows, 1, size), unpack(problems) }
`;
