import { RETRY_HINT, WAITING_TTL } from '../../../core/algorithms/concurrency.js';

/** The twin of core/algorithms/concurrency.ts. Slots of a shared store expire, so there is no `isLasting`. */
export const CONCURRENCY_LIMIT = `
local RETRY_HINT, WAITING_TTL = ${RETRY_HINT}, ${WAITING_TTL}

-- Holders are a list of { id = …, count = …, expiry = …, sequence = …, since = …, waitsUntil = … }.

local function heldSlots(holders)
  local sum = 0
  for n = 1, #holders do sum = sum + holders[n].count end
  return sum
end

local function isUsed(holder) return holder.count > 0 or holder.since > 0 end

local function setWaiting(own, now, since)
  own.since = since
  own.waitsUntil = since == 0 and 0 or now + WAITING_TTL
end

local function expire(holders, now)
  for n = #holders, 1, -1 do
    local holder = holders[n]
    if holder.waitsUntil <= now then holder.since, holder.waitsUntil = 0, 0 end
    if holder.expiry <= now or not isUsed(holder) then table.remove(holders, n) end
  end
end

local function startOf(now, waited) return max(1, now - waited) end

local function isAvailable(limit, holders, now, holder)
  if heldSlots(holders) >= limit.capacity / AMOUNT_PER_TOKEN then return false end
  local start = holder and holder.waited and startOf(now, holder.waited) or INFINITY
  for _, other in ipairs(holders) do
    if start < INFINITY and other.id == holder.id and other.since > 0 then start = min(start, other.since) end
  end
  for _, other in ipairs(holders) do
    if other.since > 0 and other.since < start then return false end
  end
  return true
end

-- The entry of a holder, and its place; without one a new entry behind the last.
local function findOrNew(holders, holder)
  for n, other in ipairs(holders) do
    if other.id == holder.id then return other, n end
  end
  return { id = holder.id, count = 0, expiry = 0, sequence = 0, since = 0, waitsUntil = 0 }, #holders + 1
end

local function put(holders, own, n)
  if isUsed(own) then holders[n] = own elseif holders[n] then table.remove(holders, n) end
end

local function expiryOf(limit, now, own) return max(now + limit.period, own.waitsUntil) end

local function takeSlot(limit, holders, now, holder)
  local own, n = findOrNew(holders, holder)
  if holder.nextWaited then setWaiting(own, now, startOf(now, holder.nextWaited))
  elseif holder.waited then setWaiting(own, now, 0) end
  own.count = own.count + 1
  own.expiry = expiryOf(limit, now, own)
  put(holders, own, n)
end

local function awaitSlot(holders, now, holder)
  local own, n = findOrNew(holders, holder)
  local since = startOf(now, holder.waited or 0)
  setWaiting(own, now, own.since > 0 and min(own.since, since) or since)
  own.expiry = max(own.expiry, own.waitsUntil)
  put(holders, own, n)
end

local function stopAwaiting(holders, now, holder)
  local own, n = findOrNew(holders, holder)
  if own.since == 0 then return false end
  setWaiting(own, now, 0)
  put(holders, own, n)
  return true
end

local function reportCount(limit, holders, now, holder)
  local own, n = findOrNew(holders, holder)
  if not holder.count or holder.sequence < own.sequence then return false end
  own.count, own.sequence = holder.count, holder.sequence
  own.expiry = expiryOf(limit, now, own)
  holders[n] = own
  return true
end

local function dropUnused(holders, holder) put(holders, findOrNew(holders, holder)) end

local function reportSlots(limit, holders, now, holder)
  local own, n = findOrNew(holders, holder)
  if not holder.count then
    own.count = max(0, own.count - 1)
  else
    local sequence = holder.sequence or own.sequence
    if sequence < own.sequence then return false end
    own.count, own.sequence = holder.count, sequence
    setWaiting(own, now, holder.waited and startOf(now, holder.waited) or 0)
    own.expiry = expiryOf(limit, now, own)
  end
  put(holders, own, n)
  return true
end

local function longestWaiting(holders)
  local longest
  for _, holder in ipairs(holders) do
    if holder.since > 0 and (not longest or holder.since < longest.since) then longest = holder end
  end
  return longest
end

local function isGrantable(holder) return holder.sequence > 0 end

local function grantSlot(waiting) waiting.count, waiting.since, waiting.waitsUntil = waiting.count + 1, 0, 0 end

-- state[i] is a list of holders.
algorithms[CONCURRENCY] = {
  new = function() return {} end,
  fillTime = function(limit) return limit.period end,
  setBack = function(limit, holders, now)
    for _, holder in ipairs(holders) do
      holder.expiry = min(holder.expiry, now + max(limit.period, WAITING_TTL))
      holder.since = min(holder.since, now)
      holder.waitsUntil = min(holder.waitsUntil, now + WAITING_TTL)
    end
  end,
  advance = function(_, state, i, now) expire(state[i], now) end,
  wait = function() return 0 end,
  hint = function(limit, state, i, holder)
    return isAvailable(limit, state[i], state.at, holder) and 0 or RETRY_HINT
  end,
  take = function() end,
  refund = function() end,
  newMark = function() return 0 end,
  isSpent = function() return true end,
  cancel = function() end,
  used = function(_, state, i) return heldSlots(state[i]) * AMOUNT_PER_TOKEN end,
  timeToFull = function(_, state, i)
    if #state[i] == 0 then return 0 end
    local latest = 0
    for _, holder in ipairs(state[i]) do latest = max(latest, holder.expiry) end
    return latest - state.at
  end,
  timeToNext = function(limit, state, i)
    return heldSlots(state[i]) * AMOUNT_PER_TOKEN < limit.capacity and 0 or RETRY_HINT
  end,
  replace = function(_, state, i, from) state[i] = from.state[from.k] end,
  load = function(state, i, numbers, place)
    local count = numbers[place]
    if not count then return end
    place = place + 1
    for n = 1, count do
      local id, held, expiry = numbers[place], numbers[place + 1], numbers[place + 2]
      local sequence, since, waitsUntil = numbers[place + 3], numbers[place + 4], numbers[place + 5]
      if not waitsUntil then return end
      state[i][n] = {
        id = id, count = held, expiry = expiry, sequence = sequence, since = since, waitsUntil = waitsUntil,
      }
      place = place + 6
    end
    return place
  end,
  store = function(state, i, numbers)
    local start = #numbers + 1
    numbers[start] = #state[i]
    for n, holder in ipairs(state[i]) do
      local place = start + 6 * n - 5
      numbers[place], numbers[place + 1], numbers[place + 2] = holder.id, holder.count, holder.expiry
      numbers[place + 3], numbers[place + 4], numbers[place + 5] = holder.sequence, holder.since, holder.waitsUntil
    end
  end,
}
`;
