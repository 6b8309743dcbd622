/** The twin of core/algorithms/token-bucket.ts. */
export const TOKEN_BUCKET = `
local function boundaries(limit, from, to)
  if limit.period == 1 then return to - from end
  return floor(to / limit.period) - floor(from / limit.period)
end

local function debtAt(limit, debt, at, now)
  if debt == 0 then return 0 end
  local gained = boundaries(limit, at, now) * limit.refill
  if gained >= debt then return 0 end
  return debt - gained
end

local function timeFor(limit, units, now)
  if units <= 0 then return 0 end
  if limit.refill == 0 then return INFINITY end
  local steps = ceil(units / limit.refill)
  if limit.period == 1 then return min(steps, MAX_TIME) end
  return min((floor(now / limit.period) + steps) * limit.period - now, MAX_TIME)
end

local function bucketWait(limit, debt, units, now)
  if debt + units <= limit.capacity then return 0 end
  if units > limit.capacity then return INFINITY end
  return timeFor(limit, debt + units - limit.capacity, now)
end

local function bucketMore(limit, debt, now)
  local token = AMOUNT_PER_TOKEN * limit.weight
  local balance = limit.capacity - debt
  return timeFor(limit, min(debt, (floor(balance / token) + 1) * token - balance), now)
end

local function bucketTake(limit, debt, units, now, ownWait, wait)
  local reserved = debt
  if ownWait < wait or limit.period > 1 then reserved = max(debt, boundaries(limit, now, now + wait) * limit.refill) end
  return min(reserved + units, MAX_SAFE_INTEGER)
end

local function bucketCancel(limit, debt, units, now, actAt, queueEnd, needed)
  local beyond = debt - limit.capacity - boundaries(limit, now, actAt) * limit.refill
  local behind = max(beyond, boundaries(limit, actAt, queueEnd) * limit.refill)
  local refunded = debt - max(0, units - max(0, behind))
  local empty = queueEnd == 0 and 0 or limit.capacity + boundaries(limit, now, queueEnd) * limit.refill
  return min(debt, max(needed, min(refunded, empty)))
end

local function carriedDebt(old, balance, limit, strategy)
  local amount = balance / old.weight
  local capacity = limit.capacity / limit.weight
  local carried = amount
  if strategy == STRATEGY_PROPORTIONALLY then carried = (amount * capacity) / (old.capacity / old.weight)
  elseif strategy == STRATEGY_ADDITIVE then carried = amount + max(0, capacity - old.capacity / old.weight) end
  local debt = ceil(limit.capacity - carried * limit.weight - 1e-6)
  return min(max(0, debt), MAX_SAFE_INTEGER)
end

-- state[i] is a debt.
algorithms[TOKEN_BUCKET] = {
  new = function() return 0 end,
  fillTime = function(limit) return timeFor(limit, limit.capacity, 0) end,
  rescale = function(limit, debt, scale)
    if scale.capacity == limit.capacity and scale.weight == limit.weight then return debt end
    return carriedDebt(scale, scale.capacity - debt, limit, STRATEGY_AS_IS)
  end,
  advance = function(limit, state, i, now) state[i] = debtAt(limit, state[i], state.at, now) end,
  wait = function(limit, state, i, amount) return bucketWait(limit, state[i], amount * limit.weight, state.at) end,
  take = function(limit, state, i, amount, wait)
    if amount == 0 then return end
    local units = amount * limit.weight
    local ownWait = wait == 0 and 0 or timeFor(limit, state[i] + units - limit.capacity, state.at)
    state[i] = bucketTake(limit, state[i], units, state.at, ownWait, wait)
  end,
  refund = function(limit, state, i, amount, mark) state[i] = max(mark or 0, state[i] - amount * limit.weight) end,
  newMark = function() return 0 end,
  isSpent = function(_, state, i, mark) return mark >= state[i] end,
  cancel = function(limit, state, i, amount, actAt, needed)
    state[i] = bucketCancel(limit, state[i], amount * limit.weight, state.at, actAt, state.queueEnd, needed)
  end,
  used = function(_, state, i) return state[i] end,
  timeToFull = function(limit, state, i) return timeFor(limit, state[i], state.at) end,
  timeToNext = function(limit, state, i) return bucketMore(limit, state[i], state.at) end,
  replace = function(limit, state, i, from, strategy)
    local balance = from.limit.capacity - from.state[from.k]
    state[i] = carriedDebt(from.limit, balance, limit, strategy)
  end,
  load = function(state, i, numbers, place)
    state[i] = numbers[place]
    return state[i] and place + 1
  end,
  store = function(state, i, numbers) numbers[#numbers + 1] = state[i] end,
}
`;
