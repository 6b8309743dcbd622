/** The twin of core/replace.ts. */
export const REPLACE = `
-- The caller has matched the limits: matches[i] is the old limit that limit i takes over from.

local function replace(from, source, to, target, strategy, matches)
  clear(to, target)
  target.at = source.at
  target.changed = true
  if strategy == STRATEGY_RESET then return end
  target.blockedUntil = source.blockedUntil
  for i, limit in ipairs(to) do
    local k = matches[i]
    local old = from[k]
    if old then
      algorithms[limit.kind].replace(limit, target, i, { limit = old, state = source, k = k }, strategy)
    end
  end
end
`;
