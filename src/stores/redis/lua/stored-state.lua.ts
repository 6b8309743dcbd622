/** How a bucket is kept in a key. It has no twin. */
export const STORED_STATE = `
-- Where states are kept: as doubles: at, blockedUntil, lineEnd and for each limit its debt, or of a window its sum, how
-- many admissions there are, and time and amount of each.

local NO_BUCKET = 'its value is not a bucket'
local emptied = {}
local reading

-- Reads what is stored, number by number.
local function reader(stored)
  if #stored % 8 ~= 0 then error(NO_BUCKET, 0) end
  local numbers, place = {}, 0
  for start = 1, #stored, 8 * 200 do
    local part = string.sub(stored, start, start + 8 * 200 - 1)
    local read = { unpacks('<' .. string.rep('d', #part / 8), part) }
    for i = 1, #read - 1 do numbers[#numbers + 1] = read[i] end
  end
  return function()
    place = place + 1
    if whole(numbers[place]) then return numbers[place] end
    error(NO_BUCKET, 0)
  end
end

local function open(policy, key)
  local state = opened[key]
  if not state then
    state = { at = 0, policy = policy, key = key }
    reading = key
    local stored = call('GET', key)
    forget(policy, state)
    if stored then
      local read = reader(stored)
      state.stored, state.at = stored, read()
      state.blockedUntil, state.lineEnd = read(), read()
      for i, limit in ipairs(policy) do
        if limit.window then
          local log = state[i]
          local sum = read()
          for k = 1, read() do
            log.times[k], log.amounts[k] = read(), read()
            log.sum = log.sum + log.amounts[k]
          end
          if log.sum ~= sum then error(NO_BUCKET, 0) end
        else
          state[i] = read()
        end
      end
    end
    opened[key] = state
  end
  advance(policy, state, now)
  return state
end

local function save(state)
  local policy = state.policy
  local ttl = lifetime(policy, state, now)
  if ttl == 0 then
    if state.stored then emptied[#emptied + 1] = state.key end
    return
  end
  local numbers = { state.at, state.blockedUntil, state.lineEnd }
  for i, limit in ipairs(policy) do
    local log = state[i]
    if limit.window then
      numbers[#numbers + 1] = log.sum
      numbers[#numbers + 1] = #log.times
      for k = 1, #log.times do
        numbers[#numbers + 1] = log.times[k]
        numbers[#numbers + 1] = log.amounts[k]
      end
    else
      numbers[#numbers + 1] = state[i]
    end
  end
  local value = pack(numbers, 1, #numbers)
  if ttl == INFINITY then
    call('SET', state.key, value)
  else
    call('SET', state.key, value, 'PX', max(ttl, leastTtl))
  end
end
`;
