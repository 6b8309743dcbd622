import { MAX_MARKS } from '../../../core/marks.js';

/** The twin of core/marks.ts. */
export const MARKS = `
-- A mark is { id = …, [i] = the number for limit i }. The functions of \`algorithms\` change it like a state.

local function addMark(policy, state, id, wait)
  local mark = { id = id }
  for i, limit in ipairs(policy) do mark[i] = algorithms[limit.kind].newMark(limit, state.at + wait) end
  if #state.marks == ${MAX_MARKS} then table.remove(state.marks, 1) end
  table.insert(state.marks, mark)
end

-- Changes the marks of buckets, up to the one with index \`last\`.
local function changeMarks(policy, state, last, change)
  for m = 1, last do
    local mark = state.marks[m]
    mark.at = state.at
    for i, limit in ipairs(policy) do
      if type(state[i]) == 'number' then change(algorithms[limit.kind], limit, mark, i) end
    end
  end
end

local function advanceMarks(policy, state, now)
  changeMarks(policy, state, #state.marks, function(algorithm, limit, mark, i) algorithm.advance(limit, mark, i, now) end)
end

local function takeFromMarks(policy, state, taken, wait)
  changeMarks(policy, state, #state.marks, function(algorithm, limit, mark, i)
    algorithm.take(limit, mark, i, amountFor(taken, i), wait)
  end)
end

local function refundToMarks(policy, state, taken)
  changeMarks(policy, state, #state.marks, function(algorithm, limit, mark, i)
    algorithm.refund(limit, mark, i, amountFor(taken, i))
  end)
end

local function capMarks(policy, state)
  changeMarks(policy, state, #state.marks, function(_, _, mark, i) mark[i] = min(mark[i], state[i]) end)
end

local function dropSpentMarks(policy, state)
  for m = #state.marks, 1, -1 do
    local spent = true
    for i, limit in ipairs(policy) do
      spent = spent and algorithms[limit.kind].isSpent(limit, state, i, state.marks[m][i])
    end
    if spent then table.remove(state.marks, m) end
  end
end

-- The index of a mark, or nil.
local function markIndex(state, id)
  for m, mark in ipairs(state.marks) do
    if mark.id == id then return m end
  end
end

local function dropMark(state, id)
  local index = id and markIndex(state, id)
  if not index then return end
  table.remove(state.marks, index)
  state.changed = true
end

local function refundMarked(policy, state, taken)
  local index = markIndex(state, taken.mark)
  if not index then return end
  local own = table.remove(state.marks, index)
  local function refund(algorithm, limit, from, i) algorithm.refund(limit, from, i, amountFor(taken, i), own[i]) end
  for i, limit in ipairs(policy) do refund(algorithms[limit.kind], limit, state, i) end
  if state.queue then refundBehindQueue(policy, state, taken, own) end
  changeMarks(policy, state, index - 1, refund)
  state.changed = true
end
`;
