/** The twin of core/bucket-state.ts. */
export const BUCKET_STATE = `
local function clear(policy, state)
  state.blockedUntil, state.queueEnd, state.queue, state.marks, state.scales = 0, 0, nil, {}, nil
  for i, limit in ipairs(policy) do state[i] = algorithms[limit.kind].new() end
end

local function fillTime(policy)
  local longest = 0
  for _, limit in ipairs(policy) do longest = max(longest, algorithms[limit.kind].fillTime(limit)) end
  return longest
end

local function longestFillTime(policy, state)
  local longest = fillTime(policy)
  for _, scale in ipairs(state.scales or {}) do longest = max(longest, scale.fillTime) end
  return longest
end

local function setBack(policy, state, now)
  local parts = { unpack(state, 1, #policy) }
  clear(policy, state)
  for i, limit in ipairs(policy) do
    local algorithm = algorithms[limit.kind]
    if algorithm.setBack then
      algorithm.setBack(limit, parts[i], now)
      -- Not yet changed: the request may be an estimate, which saves nothing.
      state[i], state.isSetBack = parts[i], true
    end
  end
end

local function advance(policy, state, now)
  if state.scales then rescale(policy, state) end
  local ahead = state.at - now
  if ahead > 0 then
    if ahead <= max(longestFillTime(policy, state), state.blockedUntil - state.at) then return end
    setBack(policy, state, now)
  end
  if #state.marks > 0 then advanceMarks(policy, state, now) end
  if state.queue then advanceQueue(policy, state, now) end
  for i, limit in ipairs(policy) do algorithms[limit.kind].advance(limit, state, i, now) end
  state.at = now
  if #state.marks > 0 then dropSpentMarks(policy, state) end
  if state.blockedUntil <= now then state.blockedUntil = 0 end
  if state.queueEnd <= now then state.queueEnd = 0 end
end

local function take(policy, state, taken, wait, mark)
  if #state.marks > 0 then takeFromMarks(policy, state, taken, wait) end
  if wait > 0 then enqueue(policy, state, taken, wait) elseif state.queue then chargeBehindQueue(policy, state, taken) end
  for i, limit in ipairs(policy) do algorithms[limit.kind].take(limit, state, i, amountFor(taken, i), wait) end
  if mark then addMark(policy, state, mark, wait) end
  if policy.isResolved and not state.scales then state.scales = scalesOf(policy) end
  state.changed = true
end

local function refund(policy, state, taken, actAt)
  if taken.mark then return refundMarked(policy, state, taken) end
  refundToMarks(policy, state, taken)
  for i, limit in ipairs(policy) do
    local algorithm = algorithms[limit.kind]
    algorithm.refund(limit, state, i, amountFor(taken, i), actAt and algorithm.newMark(limit, actAt))
  end
  if state.queue then refundBehindQueue(policy, state, taken) end
  state.changed = true
end

local function cancel(policy, state, taken, actAt)
  dropMark(state, taken.mark)
  if not state.queue or actAt <= state.at or actAt > state.queueEnd then return end
  cancelReservation(policy, state, taken, actAt)
  capMarks(policy, state)
  state.changed = true
end

local function lifetime(policy, state, now)
  local reset = max(0, state.blockedUntil - state.at, state.queueEnd - state.at)
  local scales = state.scales
  for i, limit in ipairs(policy) do
    local algorithm = algorithms[limit.kind]
    local isScaled = scales and algorithm.rescale
    reset = max(reset, isScaled and timeToFullIn(scales[i], state[i]) or algorithm.timeToFull(limit, state, i))
  end
  if reset == 0 then return 0 end
  return state.at - now + reset
end
`;
