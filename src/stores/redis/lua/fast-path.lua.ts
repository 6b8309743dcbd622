/** The fast path of nearly every request, placed before all definitions that it does not need. It has no twin. */
export const FAST_PATH = `
-- The same decision as decide for a plain take: one policy with at most three refilling token buckets or one sliding
-- window, no waiting, and a key that this script has not opened yet. Both functions return false, without changing
-- anything, if the request or its state needs the general path. A table or a function call costs more than this whole computation, so the functions of
-- token-bucket.ts and sliding-window.ts are written out.

-- Whether a state is from no later than now, not blocked and without queued requests. A state with marks or a queue is longer,
-- and is rejected by its length.
local function isPlain(at, blockedUntil, queueEnd)
  return at % 1 == 0 and at >= 0 and at <= now and blockedUntil == 0 and queueEnd % 1 == 0 and queueEnd >= 0 and queueEnd <= now
end

local debts, waits = {}, {}
local function takeFromBuckets(policy, key, amount, maxWait)
  if opened[key] then return false end
  local stored = call('GET', key)
  local at = now
  debts[1], debts[2], debts[3] = 0, 0, 0
  if stored then
    if #stored ~= policy.size then return false end
    local blockedUntil, queueEnd
    at, blockedUntil, queueEnd, debts[1], debts[2], debts[3] = unpacks(policy.format, stored)
    if not isPlain(at, blockedUntil, queueEnd) then return false end
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
      wait = units > limit.capacity and INFINITY or min(ceil(over / limit.refill) * limit.period - limit.past, MAX_TIME)
      if wait > longest then longest = wait end
    end
    debts[i], waits[i] = debt, wait
  end
  local allowed = longest == 0
  if not allowed and (maxWait ~= 0 or policy.block > 0) then return false end
  local n, ttl = size + 5, 0
  rows[n - 4], rows[n - 3], rows[n - 2], rows[n - 1] = allowed and 1 or 0, 0, allowed and amount or 0, now
  rows[n] = 0
  for i = 1, #policy do
    local limit, debt, wait = policy[i], debts[i], waits[i]
    local weight, capacity, refill, period = limit.weight, limit.capacity, limit.refill, limit.period
    if allowed then
      debt = debt + amount * weight
      debts[i] = debt
    end
    local timeToFull, timeToNext = 0, 0
    if debt > 0 then
      local token = AMOUNT_PER_TOKEN * weight
      local units = token - (capacity - debt) % token
      if units > debt then units = debt end
      timeToFull = ceil(debt / refill) * period - limit.past
      timeToNext = ceil(units / refill) * period - limit.past
      if timeToFull > MAX_TIME then timeToFull = MAX_TIME end
      if timeToNext > MAX_TIME then timeToNext = MAX_TIME end
      if timeToFull > ttl then ttl = timeToFull end
    end
    rows[n + 1], rows[n + 2] = capacity - debt, wait == INFINITY and NEVER or wait
    rows[n + 3], rows[n + 4] = timeToFull, timeToNext
    n = n + 4
  end
  if allowed then
    local value = packs(policy.format, now, 0, 0, debts[1], debts[2], debts[3])
    call('SET', key, value, 'PX', ttl < leastTtl and leastTtl or ttl)
  end
  size = n
  return true
end

-- Reads only the ends of a window's log, however many admissions it has.
local function takeFromWindow(policy, key, amount, maxWait)
  if opened[key] then return false end
  local limit, stored = policy[1], call('GET', key)
  local period, capacity, slot = limit.period, limit.capacity, limit.slot
  local sum, count, offset = 0, 0, 41
  local oldest, newest, taken
  if stored then
    if #stored < 40 then return false end
    local at, blockedUntil, queueEnd
    at, blockedUntil, queueEnd, sum, count = unpacks('<ddddd', stored)
    if not isPlain(at, blockedUntil, queueEnd) or #stored ~= 40 + 16 * count then return false end
    while count > 0 do
      oldest, taken = unpacks('<dd', stored, offset)
      if not (oldest + period <= now) then break end
      sum, count, offset = sum - taken, count - 1, offset + 16
    end
    if count > 0 then
      newest, taken = unpacks('<dd', stored, #stored - 15)
      if not (isWhole(sum) and isWhole(oldest) and isWhole(newest) and isWhole(taken)) then return false end
    elseif sum ~= 0 then
      return false
    end
  end
  local over, wait = sum - capacity + amount, 0
  local allowed = over <= 0
  if allowed then
    local time, entries = slot == 1 and now or ceil(now / slot) * slot, ''
    if count > 0 then
      if newest > time or count == MOST_EXACT then return false end
      -- Admissions in the same slot are one entry.
      entries = string.sub(stored, offset, newest == time and -17 or -1)
      if newest == time then count = count - 1 else taken = 0 end
    else
      oldest, taken = time, 0
    end
    sum, count, newest = sum + amount, count + 1, time
    local value = packs('<ddddd', now, 0, 0, sum, count) .. entries .. packs('<dd', time, taken + amount)
    call('SET', key, value, 'PX', max(time + period - now, leastTtl))
  else
    if maxWait ~= 0 or policy.block > 0 or amount > capacity then return false end
    local admittedAt
    while over > 0 do
      admittedAt, taken = unpacks('<dd', stored, offset)
      over, offset = over - taken, offset + 16
    end
    wait = admittedAt + period - now
    if not isWhole(wait) then return false end
  end
  local n = size
  rows[n + 1], rows[n + 2], rows[n + 3], rows[n + 4] = allowed and 1 or 0, 0, allowed and amount or 0, now
  rows[n + 5], rows[n + 6], rows[n + 7] = 0, capacity - sum, wait
  rows[n + 8], rows[n + 9] = newest + period - now, oldest + period - now
  size = n + 9
  return true
end

-- Executes requests until one needs the general path.
local function takeFast()
  while more() do
    local take = run[1]
    local fast = take.policy.buckets and takeFromBuckets or take.policy.window and takeFromWindow
    if run.verb ~= TAKE or #run > 1 or not fast or take.amount == 0 or take.amounts or take.mark then return end
    while left > 0 do
      if not fast(take.policy, KEYS[nextKey], take.amount, take.maxWait) then return end
      nextKey, left = nextKey + 1, left - 1
    end
  end
end

-- GET raises an error if a key has another type. The general path then executes the remaining requests, and reports it.
pcall(takeFast)
if not more() then return pack(rows, 1, size) end
`;
