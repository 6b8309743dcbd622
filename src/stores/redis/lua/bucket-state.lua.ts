/** The twin of core/bucket-state.ts. */
export const BUCKET_STATE = `
-- A state is { at = …, blockedUntil = …, lineEnd = …, [i] = debt or log }.

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
  if actAt <= state.at or actAt > state.lineEnd then return end
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
`;
