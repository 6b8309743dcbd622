import { EXACT_WINDOW, MOST_EXACT } from '../../../core/algorithms/sliding-window.js';

/** The twin of core/algorithms/sliding-window.ts. */
export const SLIDING_WINDOW = `
local MOST_EXACT, EXACT_WINDOW = ${MOST_EXACT}, ${EXACT_WINDOW}

-- A log is { sum = …, times = {…}, amounts = {…} }, without a head.

local function slotTime(time, slot)
  if slot == 1 then return time end
  return ceil(time / slot) * slot
end

local function slotOf(period) return max(1, floor(period / EXACT_WINDOW)) end

local function expire(limit, log, now)
  if #log.times == 0 or log.times[1] + limit.period > now then return end
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
  local over = log.sum - limit.capacity + amount
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
    local time = slotTime(log.times[i], slot)
    if times[#times] == time then
      amounts[#times] = amounts[#times] + log.amounts[i]
    else
      times[#times + 1] = time
      amounts[#times] = log.amounts[i]
    end
  end
  log.times, log.amounts = times, amounts
end

local function admit(limit, log, requested, at)
  local amount = min(requested, MAX_SAFE_INTEGER - log.sum)
  if amount == 0 then return end
  local times, amounts = log.times, log.amounts
  local time = slotTime(at, limit.slot)
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

local function refundOldest(limit, log, amount, now)
  local latest = slotTime(now, limit.slot)
  while amount > 0 and #log.times > 0 and log.times[1] <= latest do amount = amount - reduce(log, 1, amount) end
end

local function refundAdmission(log, amount, time)
  local index = #log.times
  while index > 0 and log.times[index] >= time do
    if log.times[index] == time then reduce(log, index, amount) end
    index = index - 1
  end
end

local function cancelAdmission(limit, log, amount, actAt)
  local time = slotTime(actAt, limit.slot)
  local merged = slotTime(time, slotOf(limit.period))
  local index = #log.times
  while index > 1 and log.times[index - 1] >= time do index = index - 1 end
  if index > 0 and (log.times[index] == time or log.times[index] == merged) then reduce(log, index, amount) end
end

-- state[i] is a log.
algorithms[SLIDING_WINDOW] = {
  new = function() return { sum = 0, times = {}, amounts = {} } end,
  fillTime = function(limit) return limit.period end,
  advance = function(limit, state, i, now) expire(limit, state[i], now) end,
  wait = function(limit, state, i, amount) return windowWait(limit, state[i], amount, state.at) end,
  take = function(limit, state, i, amount, wait) admit(limit, state[i], amount, state.at + wait) end,
  refund = function(limit, state, i, amount, mark)
    if mark then refundAdmission(state[i], amount, mark) else refundOldest(limit, state[i], amount, state.at) end
  end,
  newMark = function(limit, actAt) return slotTime(actAt, limit.slot) end,
  isSpent = function(limit, state, _, mark) return mark + limit.period <= state.at end,
  cancel = function(limit, state, i, amount, actAt) cancelAdmission(limit, state[i], amount, actAt) end,
  used = function(_, state, i) return state[i].sum end,
  timeToFull = function(limit, state, i) return windowReset(limit, state[i], state.at) end,
  timeToNext = function(limit, state, i) return windowMore(limit, state[i], state.at) end,
  replace = function(limit, state, i, from)
    local log = from.state[from.k]
    for n = 1, #log.times do admit(limit, state[i], log.amounts[n], log.times[n]) end
  end,
  load = function(state, i, numbers, place)
    local sum, total, count, times, amounts = numbers[place], 0, 0, {}, {}
    if not sum then return end
    place = place + 1
    while total < sum do
      local amount = numbers[place + 1]
      if not amount then return end
      count = count + 1
      times[count], amounts[count] = numbers[place], amount
      total, place = total + amount, place + 2
    end
    state[i] = { sum = sum, times = times, amounts = amounts }
    return total == sum and place
  end,
  store = function(state, i, numbers)
    local log, start = state[i], #numbers + 1
    numbers[start] = log.sum
    for n = 1, #log.times do
      numbers[start + 2 * n - 1], numbers[start + 2 * n] = log.times[n], log.amounts[n]
    end
  end,
}
`;
