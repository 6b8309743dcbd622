/** The twin of core/slots.ts. */
export const SLOTS = `
local function isSlotMissing(t)
  local index = t.policy.slotIndex
  return index and not isAvailable(t.policy[index], t.state[index], t.state.at, t.holder)
end

local function lacksSlot(takes)
  for _, t in ipairs(takes) do
    if isSlotMissing(t) then return true end
  end
  return false
end

local function takeSlotOf(t)
  local policy, state = t.policy, t.state
  if not policy.slotIndex or not t.holder then return end
  takeSlot(policy[policy.slotIndex], state[policy.slotIndex], state.at, t.holder)
  state.changed = true
end

local function awaitSlots(takes)
  for _, t in ipairs(takes) do
    local state, index = t.state, t.policy.slotIndex
    if index and t.holder then
      if not isSlotMissing(t) then
        if t.holder.waited and stopAwaiting(state[index], state.at, t.holder) then state.changed = true end
      elseif t.maxWait ~= 0 then
        awaitSlot(state[index], state.at, t.holder)
        state.changed = true
      end
    end
  end
end

local function reportCounts(takes)
  for _, t in ipairs(takes) do
    local state, index = t.state, t.policy.slotIndex
    if index and t.holder and t.holder.sequence then
      if reportCount(t.policy[index], state[index], state.at, t.holder) then state.changed = true end
    end
  end
end

local function freeSlots(policy, holders)
  return policy[policy.slotIndex].capacity / AMOUNT_PER_TOKEN - heldSlots(holders)
end

local function offerFreeSlots(t, allowed, isEstimate)
  local policy, state, holder = t.policy, t.state, t.holder
  if not policy.slotIndex or not holder then return end
  local holders = state[policy.slotIndex]
  if not allowed then
    if not holder.sequence then return end
    dropUnused(holders, holder)
  end
  local free = freeSlots(policy, holders)
  local waiting = free > 0 and longestWaiting(holders)
  if waiting and waiting.id ~= holder.id and not isEstimate then
    publishTo(waiting, state, '%.0f', free)
  end
end

local function hold(t)
  local policy, state = t.policy, t.state
  if not policy.slotIndex then return 0 end
  local holders = state[policy.slotIndex]
  if reportSlots(policy[policy.slotIndex], holders, state.at, t.holder) then state.changed = true end
  local mayGrant = #policy == 1 and state.blockedUntil == 0
  local granted, free, waiting = {}, freeSlots(policy, holders), longestWaiting(holders)
  while free > 0 and waiting and mayGrant and isGrantable(waiting) do
    grantSlot(waiting)
    state.changed = true
    granted[#granted + 1], free = waiting, free - 1
    waiting = longestWaiting(holders)
  end
  local taken = 0
  for _, holder in ipairs(granted) do
    if holder.id == t.holder.id then taken = AMOUNT_PER_TOKEN
    else publishTo(holder, state, '%.0f %.0f', free, holder.sequence) end
  end
  if free > 0 and waiting then publishTo(waiting, state, '%.0f', free) end
  return taken
end
`;
