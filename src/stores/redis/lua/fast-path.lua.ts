import { MOST_EXACT, slidingWindow } from '../../../core/algorithms/sliding-window.js';
import { MAX_TIME, tokenBucket } from '../../../core/algorithms/token-bucket.js';
import { AMOUNT_PER_TOKEN } from '../../../core/amount.js';
import { NEVER } from '../../../core/answer.js';
import { VERB_CODES } from '../script-protocol.js';
import { COMPACT_END } from './stored-state.lua.js';

/** The fast path of nearly every request. It has no twin; tests compare it with the general path. */
export const FAST_PATH = `
-- The same decision as decide for a plain take: one policy of refilling token buckets or one sliding window, without
-- waiting. Tables and captured variables cost Lua more than this arithmetic. So the input is read in place, everything is
-- a parameter, and the functions of token-bucket.ts and sliding-window.ts are written out.
-- Both functions return the row of the reply, or nil without having changed anything if the limits or the stored value
-- need the general path. All states that they read and write are compact.

local function takeFromBuckets(input, policy, key, stored, at, now, leastTtl, amount, mayDeny)
  local packs, unpacks, ceil, count = struct.pack, struct.unpack, math.ceil, input[policy + 1]
  if stored and #stored ~= 6 + 6 * count then return end
  -- If the amount is denied, the second pass takes nothing.
  for taken = amount, 0, -amount do
    local allowed, ttl, row, state = taken > 0, leastTtl
    for i = 1, count do
      local place = policy + 6 * i
      local capacity, weight, refill, period = input[place - 3], input[place - 2], input[place - 1], input[place]
      if input[place - 4] ~= ${tokenBucket.id} or refill == 0 then return end
      local past, debt, wait = now % period, 0, 0
      if stored then
        debt = unpacks('<I6', stored, 1 + 6 * i)
        local gained = (now - past - (at - at % period)) / period * refill
        debt = gained < debt and debt - gained or 0
      end
      local units = amount * weight
      local over = debt + units - capacity
      if over > 0 then
        if not mayDeny then return end
        allowed = false
        if taken > 0 then break end
        wait = units > capacity and ${NEVER} or math.min(ceil(over / refill) * period - past, ${MAX_TIME})
      end
      debt = debt + taken * weight
      local timeToFull, timeToNext = 0, 0
      if debt > 0 then
        local token = ${AMOUNT_PER_TOKEN} * weight
        local missing = token - (capacity - debt) % token
        if missing > debt then missing = debt end
        timeToFull, timeToNext = ceil(debt / refill) * period - past, ceil(missing / refill) * period - past
        if timeToFull > ${MAX_TIME} then timeToFull = ${MAX_TIME} end
        if timeToNext > ${MAX_TIME} then timeToNext = ${MAX_TIME} end
        if timeToFull > ttl then ttl = timeToFull end
      end
      if debt >= ${COMPACT_END} then return end
      local balance = capacity - debt
      -- Lua hashes every string that it creates, so the first limit is packed together with the head.
      if i == 1 then
        row = packs('<ddddddddd', allowed and 1 or 0, 0, taken, now, 0, balance, wait, timeToFull, timeToNext)
        state = packs('<I6I6', now, debt)
      else
        row = packs('<c0dddd', row, balance, wait, timeToFull, timeToNext)
        state = packs('<c0I6', state, debt)
      end
    end
    if allowed then redis.call('SET', key, state, 'PX', ttl) end
    if allowed or taken == 0 then return row end
  end
end

-- Reads only the ends of the window's log, however many admissions it has.
local function takeFromWindow(input, policy, key, stored, now, leastTtl, amount, mayDeny)
  local packs, unpacks = struct.pack, struct.unpack
  local capacity, period, slot = input[policy + 3], input[policy + 6], input[policy + 7]
  local sum, count, first = 0, 0, 13
  local oldest, newest, last
  if stored then
    if #stored < 24 or #stored % 12 ~= 0 then return end
    sum, count = unpacks('<I6', stored, 7), #stored / 12 - 1
    while count > 0 do
      oldest, last = unpacks('<I6I6', stored, first)
      if oldest + period > now then break end
      sum, count, first = sum - last, count - 1, first + 12
    end
  end
  if count > 0 then
    newest, last = unpacks('<I6I6', stored, #stored - 11)
    if newest < oldest or sum < last then return end
  elseif sum ~= 0 then
    return
  end
  local over, wait = sum - capacity + amount, 0
  local allowed = over <= 0
  if allowed then
    local time = slot == 1 and now or math.ceil(now / slot) * slot
    local entries = ''
    if count == 0 then
      oldest, last = time, 0
    elseif newest > time or count == ${MOST_EXACT} then
      return
    elseif newest < time then
      entries, last = string.sub(stored, first), 0
    else
      -- Admissions in the same slot are one entry.
      entries = string.sub(stored, first, -13)
    end
    sum, newest = sum + amount, time
    if sum >= ${COMPACT_END} then return end
    local state = packs('<I6I6c0I6I6', now, sum, entries, time, last + amount)
    local ttl = time + period - now
    redis.call('SET', key, state, 'PX', ttl < leastTtl and leastTtl or ttl)
  else
    if not mayDeny or amount > capacity then return end
    while not (over <= 0) do
      if first > #stored then return end
      wait, last = unpacks('<I6I6', stored, first)
      over, first = over - last, first + 12
    end
    wait = wait + period - now
    if wait < 0 then return end
  end
  local taken, timeToFull, timeToNext = allowed and amount or 0, newest + period - now, oldest + period - now
  return packs('<ddddddddd', allowed and 1 or 0, 0, taken, now, 0, capacity - sum, wait, timeToFull, timeToNext)
end
`;

/** Sets `row` if the next request is a plain take from a bucket that the general path has not opened. */
export const TAKE_FAST = `
  local policy, amount, key = 5, input[place + 4], KEYS[nextKey]
  if input[place] == ${VERB_CODES.take} and input[place + 2] == 1 and amount > 0 and not (opened and opened[key]) then
    for _ = 2, input[place + 3] do policy = policy + 2 + 6 * input[policy + 1] end
    -- An error, because the value has another type, is a table of length 0.
    local stored, at = redis.pcall('GET', key), now
    if stored and #stored >= 12 then at = struct.unpack('<I6', stored) end
    -- Both functions reject the length of an extended state.
    if at <= now and now < ${COMPACT_END} then
      local mayDeny = input[place + 5] == 0 and input[policy] == 0
      if input[policy + 1] == 1 and input[policy + 2] == ${slidingWindow.id} then
        row = takeFromWindow(input, policy, key, stored, now, leastTtl, amount, mayDeny)
      else
        row = takeFromBuckets(input, policy, key, stored, at, now, leastTtl, amount, mayDeny)
      end
    end
  end
`;
