/** The twin of core/scales.ts. */
export const SCALES = `
-- A scale is { capacity = …, weight = …, fillTime = … }.

local function scalesOf(policy)
  local scales = {}
  for i, limit in ipairs(policy) do
    local fillTime = min(algorithms[limit.kind].fillTime(limit), MAX_TIME)
    scales[i] = { capacity = limit.capacity, weight = limit.weight, fillTime = fillTime }
  end
  return scales
end

local function rescale(policy, state)
  local scales = state.scales
  local function change(algorithm, limit, other, i)
    if algorithm.rescale then other[i] = algorithm.rescale(limit, other[i], scales[i]) end
  end
  changeMarks(policy, state, #state.marks, change)
  if state.queue then state.queue.debts = changedDebts(policy, state, state.queue.debts, change) end
  for i, limit in ipairs(policy) do change(algorithms[limit.kind], limit, state, i) end
  state.scales = scalesOf(policy)
  for i, scale in ipairs(state.scales) do scale.fillTime = max(scale.fillTime, scales[i].fillTime) end
end

local function timeToFullIn(scale, debt)
  if debt <= scale.capacity then return scale.fillTime end
  return min(ceil((scale.fillTime / scale.capacity) * debt), MAX_TIME)
end
`;
