/** The twin of core/replace.ts. */
export const REPLACE = `
-- Which limit takes over from which was matched by the caller.

local function carriedDebt(old, balance, limit, strategy)
  local amount = balance / old.weight
  local capacity = limit.capacity / limit.weight
  local carried = amount
  if strategy == 2 then carried = (amount * capacity) / (old.capacity / old.weight)
  elseif strategy == 3 then carried = amount + max(0, capacity - old.capacity / old.weight) end
  local debt = ceil(limit.capacity - carried * limit.weight - 1e-6)
  return min(max(0, debt), MAX_SAFE_INTEGER)
end

local function replace(from, source, to, target, strategy, matches)
  forget(to, target)
  target.at = source.at
  target.changed = true
  if strategy == 0 then return end
  target.blockedUntil = source.blockedUntil
  for i, limit in ipairs(to) do
    local k = matches[i]
    local old = from[k]
    if old then
      if limit.window then
        for n = 1, #source[k].times do admit(limit, target[i], source[k].amounts[n], source[k].times[n]) end
      else
        target[i] = carriedDebt(old, balanceOf(old, source, k), limit, strategy)
      end
    end
  end
end
`;
