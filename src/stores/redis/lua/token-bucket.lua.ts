/** The twin of core/token-bucket.ts. */
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
  if limit.period == 1 then return min(steps, LONGEST_TOLD) end
  return min((floor(now / limit.period) + steps) * limit.period - now, LONGEST_TOLD)
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

local function bucketTake(limit, debt, units, now, own, wait)
  local held = debt
  if own < wait or limit.period > 1 then held = max(debt, boundaries(limit, now, now + wait) * limit.refill) end
  return min(held + units, MAX_SAFE_INTEGER)
end

local function bucketCancel(limit, debt, units, now, actAt, lineEnd)
  local beyond = debt - limit.capacity - boundaries(limit, now, actAt) * limit.refill
  local behind = max(beyond, boundaries(limit, actAt, lineEnd) * limit.refill)
  return max(0, debt - max(0, units - max(0, behind)))
end
`;
