import { declareConstants, STRATEGY_CODES } from '../script-protocol.js';

/** The twin of core/algorithms/algorithm.ts: the table that the algorithms add themselves to. */
export const ALGORITHMS = `
${declareConstants(STRATEGY_CODES, 'STRATEGY_')}

-- algorithms[kind] has the functions of the Algorithm in TypeScript, with the same parameters but that a part is state[i],
-- and also:
--   new()                           the state of a full limit: a number or a table, kept in state[i]
--   fillTime(limit)                 ms from empty to full
--   load(state, i, numbers, place)  fills state[i] from stored numbers, which start at place; returns where they end, or
--                                   nothing if they are not a state
--   store(state, i, numbers)        appends them
--   covers(limit, at)               whether the limit is known at that instant; without it, it always is
local algorithms = {}

-- A state is { at = …, blockedUntil = …, queueEnd = …, queue = {…} or nil, marks = {…}, scales = {…} or nil,
--   [i] = the state of limit i, as its algorithm keeps it }.
-- A take is { amount = …, amounts = {…} or nil, checks = {…} or nil, mark = … or nil, holder = … or nil }.

local function amountFor(take, i) return take.amounts and take.amounts[i] or take.amount end

local function neededFrom(take, i)
  local amount = amountFor(take, i)
  return amount == 0 and take.checks and take.checks[i] and 1 or amount
end
`;
