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

local function publishFreeSlots(policy, state, except)
  local limit, holders = policy[policy.slotIndex], state[policy.slotIndex]
  local free = limit.capacity / AMOUNT_PER_TOKEN - heldSlots(holders)
  local waiting = free > 0 and longestWaiting(holders)
  if waiting and waiting.id ~= except then
    call('PUBLISH', state.key, string.format('%.0f %.0f', waiting.id, free))
  end
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

local function hold(t)
  local policy, state = t.policy, t.state
  if not policy.slotIndex then return end
  if reportSlots(policy[policy.slotIndex], state[policy.slotIndex], state.at, t.holder) then state.changed = true end
  publishFreeSlots(policy, state)
end
`;
