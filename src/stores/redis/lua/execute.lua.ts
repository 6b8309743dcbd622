/** The twin of core/execute.ts, and the end of the script. */
export const EXECUTE = `
local function refuses(state, wait, maxWait)
  return state.blockedUntil > 0 or (maxWait >= 0 and wait > maxWait) or wait == INFINITY
end

local function longestWait(policy, state, amount)
  local longest = 0
  for i, limit in ipairs(policy) do longest = max(longest, waitOf(limit, state, i, amount)) end
  if longest == 0 then return 0 end
  return state.at - now + longest
end

local function wholeTokens(policy, state)
  local least = INFINITY
  for i, limit in ipairs(policy) do least = min(least, balanceOf(limit, state, i) / limit.weight) end
  return max(0, floor(least / AMOUNT_PER_TOKEN)) * AMOUNT_PER_TOKEN
end

local function push(number)
  size = size + 1
  rows[size] = number
end

local function time(ms, ahead, atLeast)
  if ms == INFINITY then return NEVER end
  return max(ms == 0 and 0 or ahead + ms, atLeast)
end

local function describe(policy, state, retry, amount)
  local ahead = state.at - now
  local blocked = state.blockedUntil > 0 and state.blockedUntil - now or 0
  for i, limit in ipairs(policy) do
    local balance = balanceOf(limit, state, i)
    local wait = retry and waitOf(limit, state, i, amount) or 0
    local reset = resetOf(limit, state, i)
    push(blocked > 0 and min(balance, 0) or balance)
    push(time(wait, ahead, retry and blocked or 0))
    push(time(reset, ahead, blocked))
    push(time(moreOf(limit, state, i), ahead, blocked))
  end
end

local function head(allowed, delay, taken)
  push(allowed and 1 or 0)
  push(delay)
  push(taken)
  push(now)
end

-- A copy that is thrown away, for what only looks. A state is made of tables in two levels and of its policy.
local copy
function copy(state)
  local other = {}
  for name, value in pairs(state) do
    other[name] = (type(value) == 'table' and name ~= 'policy') and copy(value) or value
  end
  return other
end

local function decide(takes)
  local allowed, delay = true, 0
  for _, t in ipairs(takes) do
    t.wait = longestWait(t.policy, t.state, t.amount)
    if refuses(t.state, t.wait, t.maxWait) then allowed = false elseif t.wait > delay then delay = t.wait end
  end
  head(allowed, allowed and delay or 0, allowed and takes[1].amount or 0)
  for _, t in ipairs(takes) do
    local policy, state = t.policy, t.state
    if allowed then
      if t.amount > 0 then take(policy, state, t.amount, t.wait > 0 and t.wait - (state.at - now) or 0) end
    elseif policy.block > 0 and state.blockedUntil == 0 and refuses(state, t.wait, t.maxWait) then
      state.blockedUntil = state.at + policy.block
      state.changed = true
    end
    push(t.wait == INFINITY and NEVER or t.wait)
    describe(policy, state, not allowed, t.amount)
  end
end

local function execute(verb, takes, words)
  if verb == TAKE then return decide(takes) end
  if verb == ESTIMATE then
    for _, t in ipairs(takes) do t.state = copy(t.state) end
    return decide(takes)
  end
  local policy, state, amount = takes[1].policy, takes[1].state, takes[1].amount
  local taken = 0
  if verb == CHARGE then
    taken = amount
    take(policy, state, taken, 0)
  elseif verb == TAKE_UP_TO then
    taken = state.blockedUntil > 0 and 0 or min(amount, wholeTokens(policy, state))
    if taken > 0 then take(policy, state, taken, 0) end
  elseif verb == PUT then
    for _, t in ipairs(takes) do give(t.policy, t.state, t.amount) end
  elseif verb == CANCEL then
    for i, t in ipairs(takes) do cancel(t.policy, t.state, t.amount, words[i]) end
  elseif verb == BLOCK then
    state.blockedUntil = state.at + words[1]
    state.changed = true
  elseif verb == UNBLOCK then
    state.changed = state.changed or state.blockedUntil > 0
    state.blockedUntil = 0
  elseif verb == REPLACE then
    local to, target, matches = takes.target.policy, takes.target.state, {}
    for i = 1, #to do matches[i] = words[2 + i] end
    replace(policy, state, to, target, words[2], matches)
    forget(policy, state)
    state.changed = true
  elseif verb == RESET then
    forget(policy, state)
    state.changed = true
  end
  head(true, 0, taken)
  for _, t in ipairs(takes) do
    push(0)
    describe(t.policy, t.state, true, 0)
    if verb ~= CHARGE and verb ~= TAKE_UP_TO and verb ~= BLOCK then call('PUBLISH', t.state.key, '') end
  end
end

local function openAll(takes)
  for _, t in ipairs(takes) do t.state = open(t.policy, t.key) end
end

-- Carries the next request out.
local function step()
  local takes = {}
  for i, t in ipairs(run) do
    takes[i] = { policy = t.policy, amount = t.amount, maxWait = t.maxWait, key = KEYS[nextKey] }
    nextKey = nextKey + 1
  end
  if run.verb == REPLACE then
    takes.target = { policy = policies[run.more[1]], key = KEYS[nextKey] }
    nextKey = nextKey + 1
  end
  left = left - 1
  -- A key that holds something else spoils its own request only: nothing has been changed by then.
  local readable, problem = pcall(openAll, takes)
  if readable and takes.target then readable, problem = pcall(openAll, { takes.target }) end
  if readable then return execute(run.verb, takes, run.more) end
  push(-2)
  problems[#problems + 1] = reading .. ': ' .. (type(problem) == 'table' and problem.err or tostring(problem))
end

repeat
  step()
  pcall(quickTakes)
until not more()
for _, state in pairs(opened) do
  if state.changed then save(state) end
end
-- Last, because a full Redis still deletes: so it does all of a request or nothing.
for _, key in ipairs(emptied) do call('DEL', key) end
return { pack(rows, 1, size), unpack(problems) }
`;
