import { MAX_RESERVATIONS } from '../../../core/queue.js';

/** The twin of core/queue.ts, and of core/debts.ts. */
export const QUEUE = `
-- A queue is a list of reservations { actAt = …, [i] = the amount for limit i }, with debts = { [i] = … } without them.

-- A copy of debts, changed as if they were the debts of the state.
local function changedDebts(policy, state, debts, change)
  local changed = { at = state.at }
  for i, limit in ipairs(policy) do
    changed[i] = debts[i]
    if type(state[i]) == 'number' then change(algorithms[limit.kind], limit, changed, i) end
  end
  return changed
end

local function takeAll(policy, state, queue, last)
  local debts = queue.debts
  for r = 1, last do
    local reservation = queue[r]
    debts = changedDebts(policy, state, debts, function(algorithm, limit, other, i)
      algorithm.take(limit, other, i, reservation[i], reservation.actAt - state.at)
    end)
  end
  return debts
end

-- Merges reservation r into the next one.
local function mergeWithNext(queue, r)
  local one = table.remove(queue, r)
  for i = 1, #one do queue[r][i] = min(queue[r][i] + one[i], MAX_SAFE_INTEGER) end
end

-- If there are too many, merges the two neighbors that then span the shortest time; of equal ones, the last.
local function bound(queue, now)
  if #queue <= ${MAX_RESERVATIONS} then return end
  local best, shortest = 0, INFINITY
  for r = 1, #queue - 1 do
    local span = queue[r + 1].actAt - (r > 1 and queue[r - 1].actAt or now)
    if span <= shortest then best, shortest = r, span end
  end
  mergeWithNext(queue, best)
end

local function enqueue(policy, state, taken, wait)
  if not state.queue then
    state.queue = { debts = {} }
    for i in ipairs(policy) do state.queue.debts[i] = type(state[i]) == 'number' and state[i] or 0 end
  end
  local reservation = { actAt = state.at + wait }
  for i in ipairs(policy) do reservation[i] = amountFor(taken, i) end
  local count = #state.queue
  table.insert(state.queue, reservation)
  if count > 0 and state.queue[count].actAt == reservation.actAt then mergeWithNext(state.queue, count) end
  bound(state.queue, state.at)
  state.queueEnd = reservation.actAt
end

local function advanceQueue(policy, state, now)
  local queue = state.queue
  local acted = 0
  while queue[acted + 1] and queue[acted + 1].actAt <= now do acted = acted + 1 end
  if acted == #queue then
    state.queue = nil
    return
  end
  local debts = takeAll(policy, state, queue, acted)
  local left = {}
  left.debts = changedDebts(policy, state, debts, function(algorithm, limit, other, i)
    algorithm.advance(limit, other, i, now)
  end)
  for r = acted + 1, #queue do left[#left + 1] = queue[r] end
  state.queue = left
end

local function chargeBehindQueue(policy, state, taken)
  state.queue.debts = changedDebts(policy, state, state.queue.debts, function(algorithm, limit, other, i)
    algorithm.take(limit, other, i, amountFor(taken, i), 0)
  end)
end

local function refundBehindQueue(policy, state, taken, mark)
  local before = state.queue.debts
  state.queue.debts = changedDebts(policy, state, before, function(algorithm, limit, other, i)
    algorithm.refund(limit, other, i, amountFor(taken, i), mark and mark[i])
    other[i] = min(other[i], before[i])
  end)
  if mark then return end
  local needed = takeAll(policy, state, state.queue, #state.queue)
  for i in ipairs(policy) do
    if type(state[i]) == 'number' then state[i] = max(state[i], needed[i]) end
  end
end

local function cancelReservation(policy, state, taken, actAt)
  local queue, index = state.queue, 1
  while queue[index].actAt < actAt do index = index + 1 end
  local canceled, rest = {}, 0
  for i in ipairs(policy) do
    canceled[i] = min(queue[index][i], amountFor(taken, i))
    queue[index][i] = queue[index][i] - canceled[i]
    rest = max(rest, queue[index][i])
  end
  if rest == 0 then table.remove(queue, index) end
  state.queueEnd = #queue > 0 and queue[#queue].actAt or 0
  if #queue == 0 then state.queue = nil end
  local needed = takeAll(policy, state, queue, #queue)
  for i, limit in ipairs(policy) do
    algorithms[limit.kind].cancel(limit, state, i, canceled[i], actAt, needed[i])
  end
end
`;
