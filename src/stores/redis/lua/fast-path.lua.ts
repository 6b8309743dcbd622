/** The way that nearly every request takes, in front of all that it does not need. It has no twin. */
export const SHORT_LANE = `
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
  local over, wait = sum - capacity + amount, 0
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
`;
