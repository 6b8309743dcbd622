/** The twin of core/sliding-window.ts. */
export const SLIDING_WINDOW = `
-- A log is { sum = …, times = {…}, amounts = {…} }, without a head.

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
`;
