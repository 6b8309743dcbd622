import { UNCOVERED, UNREADABLE } from '../script-protocol.js';

/** The twin of core/execute.ts, and the end of the general path. */
export const EXECUTE = `
local function denies(state, wait, maxWait)
  return state.blockedUntil > 0 or (maxWait >= 0 and wait > maxWait) or wait == INFINITY
end

local function waitFor(limit, state, i, wanted)
  local needed = neededFrom(wanted, i)
  if needed == 0 and wanted.amounts then return 0 end
  return algorithms[limit.kind].wait(limit, state, i, needed)
end

local function longestWait(policy, state, wanted)
  local longest = max(0, state.queueEnd - state.at)
  for i, limit in ipairs(policy) do longest = max(longest, waitFor(limit, state, i, wanted)) end
  if longest == 0 then return 0 end
  for i, limit in ipairs(policy) do
    local horizon = algorithms[limit.kind].horizon
    if horizon and longest >= horizon(limit, state, i) then return INFINITY end
  end
  return state.at - now + longest
end

local function wholeTokens(policy, state)
  local least = INFINITY
  for i, limit in ipairs(policy) do
    local algorithm = algorithms[limit.kind]
    if limit.kind ~= CONCURRENCY and not algorithm.hard then
      least = min(least, (limit.capacity - algorithm.used(limit, state, i)) / limit.weight)
    end
  end
  return max(0, floor(least / AMOUNT_PER_TOKEN)) * AMOUNT_PER_TOKEN
end

local row, size = {}, 0
local function push(number)
  size = size + 1
  row[size] = number
end

local function timeFromNow(ms, ahead, atLeast)
  if ms == INFINITY then return NEVER end
  return max(ms == 0 and 0 or ahead + ms, atLeast)
end

local function heldFor(policy, state)
  local blocked = state.blockedUntil > 0 and state.blockedUntil - now or 0
  if state.queueEnd == 0 then return blocked end
  local wait = 0
  for i, limit in ipairs(policy) do wait = max(wait, algorithms[limit.kind].wait(limit, state, i, 0)) end
  return state.at + wait < state.queueEnd and max(blocked, state.queueEnd - now) or blocked
end

local function retryWait(limit, state, i, retried)
  local algorithm = algorithms[limit.kind]
  if algorithm.hint then return algorithm.hint(limit, state, i, retried.holder) end
  return waitFor(limit, state, i, retried)
end

local function timeToFirst(limit, state, i)
  local algorithm = algorithms[limit.kind]
  return (algorithm.hard or algorithm).wait(limit, state, i, min(AMOUNT_PER_TOKEN, limit.capacity / limit.weight))
end

-- Pushes the state of each limit. Nothing is available for \`held\` ms. retryAfter is the time until a request for the amounts \`retried\` would be allowed, or
-- 0 without it.
local function pushLimits(policy, state, held, retried)
  local ahead = state.at - now
  for i, limit in ipairs(policy) do
    local algorithm = algorithms[limit.kind]
    local balance = limit.capacity - algorithm.used(limit, state, i)
    local wait = retried and retryWait(limit, state, i, retried) or 0
    push(held > 0 and min(balance, 0) or balance)
    push(timeFromNow(wait, ahead, retried and held or 0))
    push(timeFromNow(algorithm.timeToFull(limit, state, i), ahead, held))
    local more = held > 0 and timeToFirst(limit, state, i) or algorithm.timeToNext(limit, state, i)
    push(timeFromNow(more, ahead, held))
  end
end

local function pushHead(allowed, delay, taken)
  push(allowed and 1 or 0)
  push(delay)
  push(taken)
  push(now)
end

local function decide(takes, isEstimate)
  local allowed, delay = true, 0
  reportCounts(takes)
  for _, t in ipairs(takes) do
    t.wait = longestWait(t.policy, t.state, t)
    if denies(t.state, t.wait, t.maxWait) then allowed = false elseif t.wait > delay then delay = t.wait end
  end
  if allowed and lacksSlot(takes) then
    allowed = false
    awaitSlots(takes)
  end
  pushHead(allowed, allowed and delay or 0, allowed and takes[1].amount or 0)
  for _, t in ipairs(takes) do
    local policy, state = t.policy, t.state
    if allowed then
      if t.amount > 0 then take(policy, state, t, t.wait > 0 and t.wait - (state.at - now) or 0, t.mark) end
      takeSlotOf(t)
    elseif policy.block > 0 and state.blockedUntil == 0 and denies(state, t.wait, t.maxWait) then
      state.blockedUntil = state.at + policy.block
      state.changed = true
    end
    offerFreeSlots(t, allowed, isEstimate)
    local held = heldFor(policy, state)
    push(allowed and t.wait or state.blockedUntil > 0 and state.blockedUntil - now or held)
    pushLimits(policy, state, held, not allowed and t)
  end
end

-- The retryAfter of other verbs is that of a request that takes nothing: only a debt or a block delays it.
local NO_AMOUNT = { amount = 0 }

local function execute(verb, takes, arguments)
  for _, t in ipairs(takes) do t.state.changed = t.state.changed or verb ~= ESTIMATE and t.state.isSetBack end
  if verb == TAKE then return decide(takes) end
  if verb == ESTIMATE then
    for _, t in ipairs(takes) do t.state = copy(t.state) end
    return decide(takes, true)
  end
  local policy, state, amount = takes[1].policy, takes[1].state, takes[1].amount
  local taken = 0
  if verb == CHARGE then
    taken = amount
    dropMark(state, takes[1].mark)
    if amount > 0 then take(policy, state, takes[1], 0) end
  elseif verb == TAKE_UP_TO then
    taken = (state.blockedUntil > 0 or state.queueEnd > 0) and 0 or min(amount, wholeTokens(policy, state))
    if taken > 0 then take(policy, state, { amount = taken }, 0) end
  elseif verb == PUT then
    for i, t in ipairs(takes) do refund(t.policy, t.state, t, arguments[i]) end
  elseif verb == CANCEL then
    for i, t in ipairs(takes) do cancel(t.policy, t.state, t, arguments[i]) end
  elseif verb == BLOCK then
    state.blockedUntil = max(state.blockedUntil, state.at + arguments[1])
    state.changed = true
  elseif verb == UNBLOCK then
    state.changed = state.changed or state.blockedUntil > 0
    state.blockedUntil = 0
  elseif verb == HOLD then
    taken = hold(takes[1])
  elseif verb == REPLACE then
    local to, target, matches = takes.target.policy, takes.target.state, {}
    for i = 1, #to do matches[i] = arguments[2 + i] end
    replace(policy, state, to, target, arguments[2], matches)
    clear(policy, state)
    state.changed = true
    publish(takes.target.key, '')
  elseif verb == RESET then
    clear(policy, state)
    state.changed = true
  end
  pushHead(true, 0, taken)
  for _, t in ipairs(takes) do
    push(0)
    pushLimits(t.policy, t.state, heldFor(t.policy, t.state), NO_AMOUNT)
    if verb ~= CHARGE and verb ~= TAKE_UP_TO and verb ~= BLOCK and verb ~= HOLD then publish(t.state.key, '') end
  end
end

local function openAll(takes)
  for _, t in ipairs(takes) do t.state = open(t.policy, t.key) end
end

-- The instant of a state at which a limit is not known; nil if there is none.
local function uncoveredAt(policy, state)
  for _, limit in ipairs(policy) do
    local covers = algorithms[limit.kind].covers
    if covers and not covers(limit, state.at) then return state.at end
  end
end

local function anyUncoveredAt(takes)
  for _, t in ipairs(takes) do
    local at = uncoveredAt(t.policy, t.state)
    if at then return at end
  end
  return takes.target and uncoveredAt(takes.target.policy, takes[1].state)
end

local run, problems = {}, {}

-- Executes the next request. Returns its row, and where its run ends.
local function step()
  if run.start ~= place then run = readRun(place) end
  local takes = {}
  for i, t in ipairs(run) do
    takes[i] = { policy = t.policy, amount = t.amount, amounts = t.amounts, checks = t.checks, maxWait = t.maxWait }
    takes[i].mark, takes[i].holder = t.mark, t.holder
    takes[i].key = KEYS[nextKey]
    nextKey = nextKey + 1
  end
  if run.verb == REPLACE then
    takes.target = { policy = policies[run.arguments[1]], key = KEYS[nextKey] }
    nextKey = nextKey + 1
  end
  size = 0
  -- An unreadable key fails only its own request, before anything has been changed.
  local readable, problem = pcall(openAll, takes)
  if readable and takes.target then readable, problem = pcall(openAll, { takes.target }) end
  local uncovered = readable and anyUncoveredAt(takes)
  if uncovered then
    push(${UNCOVERED})
    push(uncovered)
  elseif readable then
    execute(run.verb, takes, run.arguments)
    if run.verb ~= ESTIMATE then
      for _, t in ipairs(takes) do keep(t.state) end
    end
  else
    push(${UNREADABLE})
    problems[#problems + 1] = reading .. ': ' .. (type(problem) == 'table' and problem.err or tostring(problem))
  end
  -- Doubles are fast to read in Node.
  return pack('d', row, 1, size), run.stop
end

-- Saves what the requests have changed, and returns the reply.
local function finish()
  for _, state in pairs(opened) do
    if state.changed then save(state) end
  end
  -- Last, because DEL succeeds even if Redis is out of memory: so a request is applied as a whole or not at all.
  for _, key in ipairs(emptied) do call('DEL', key) end
  for _, message in ipairs(messages) do call('PUBLISH', message.key, message.text) end
  return { table.concat(rows), unpack(problems) }
end

return step, finish
`;
