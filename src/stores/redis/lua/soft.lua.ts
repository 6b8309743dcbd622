/** The twin of core/algorithms/soft.ts. */
export const SOFT_LIMITS = `
setmetatable(algorithms, {
  __index = function(_, id)
    local hard = rawget(algorithms, -id)
    local soft = { hard = hard, horizon = false, wait = function() return 0 end }
    soft.take = function(limit, state, i, amount, wait)
      local room = floor((2 * limit.capacity - hard.used(limit, state, i)) / limit.weight)
      hard.take(limit, state, i, max(0, min(amount, room)), type(state[i]) == 'number' and 0 or wait)
    end
    algorithms[id] = setmetatable(soft, { __index = hard })
    return soft
  end,
})
`;
